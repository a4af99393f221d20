// Task files: a protocol, its items and its shots as JSON.
//
//   {"schema_version": 1, "name": "word problems", "protocol": "custom", "items": "test.json",
//    "stop": ["\n\n"], "max_new_tokens": 110, "extract": "#### *([^\\n]*)$", "which": "last"}
//
// Items are written inline or stand in a file beside the task, as JSON lines or as one array. Files
// of data sets are items as they are: GSM8K's own, samples that lm-evaluation-harness logged, RULER
// and needle prompts. Keys of an item that its protocol does not need are ignored, because these
// files have many; unknown keys of the task itself are refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "lib/tasks/task.h"

namespace kvtune {

// What a user changes about a task on the command line.
struct TaskOverrides {
  int64_t limit = 0;               // use the first items only; 0: all
  std::optional<int64_t> fewshot;  // shots in front of each question
};

// Reads a task file, or a file of items whose protocol follows from their keys: question and answer
// are gsm8k, references or RULER's outputs contains, choices multiple_choice. Throws Error, which
// names file and field, for what cannot be read; for a task without items; for fewer shots than
// each question needs; and for a shot that is also an item.
Task LoadTask(const std::filesystem::path& path, const TaskOverrides& overrides = {});

// Does the same with the content of a file, which need not exist: `path` names it in messages and
// is the place from which items and shots are found.
Task ParseTask(std::string_view content, const std::filesystem::path& path,
               const TaskOverrides& overrides = {});

}  // namespace kvtune
