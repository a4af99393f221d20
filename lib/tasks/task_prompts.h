// The prompts of a task: shots drawn and put in front of each question as the protocol says.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lib/tasks/task.h"

namespace kvtune {

// Returns the shots of every item, as indices into task.shots.
//
// gsm8k draws them as lm-evaluation-harness does: one random.Random(1234) over the items in their
// order, sample(shots, fewshot) for each. The other protocols take the first ones for every item.
// Empty lists where there are none.
std::vector<std::vector<size_t>> DrawShots(const Task& task);

// Returns one prompt for each item, as text without special tokens.
std::vector<std::string> TaskPrompts(const Task& task);

struct ChatTurn {
  std::string role;  // "user" or "assistant"
  std::string content;
};

// Returns one conversation for each item that ends with the user's words: each shot is a turn of
// the user and one of the assistant, as --apply_chat_template --fewshot_as_multiturn of
// lm-evaluation-harness has it. REQUIRES: the shots are not a text.
std::vector<std::vector<ChatTurn>> TaskChats(const Task& task);

}  // namespace kvtune
