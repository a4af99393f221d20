// A task: items with known answers, and the protocol by which prompts are made of them and answers
// are read out of what a model writes.
//
// A score is comparable with a published one only if every convention is the same, down to a space.
// The named protocols are those of lm-evaluation-harness 0.4.13 and of vLLM's own CI.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/words.h"

namespace kvtune {

enum class Protocol {
  kGsm8k,           // lm-evaluation-harness, gsm8k.yaml, version 3
  kGsm8kCot,        // lm-evaluation-harness, gsm8k-cot.yaml, version 3
  kVllmCi,          // vLLM, tests/evals/gsm8k
  kMultipleChoice,  // lm-evaluation-harness, output_type multiple_choice
  kContains,        // RULER (arXiv 2404.06654), string_match_all and string_match_part
  kCustom,          // the task file says it all
};
inline constexpr Word<Protocol> kProtocolWords[] = {
    {"gsm8k", Protocol::kGsm8k},       {"gsm8k_cot", Protocol::kGsm8kCot},
    {"vllm-ci", Protocol::kVllmCi},    {"multiple_choice", Protocol::kMultipleChoice},
    {"contains", Protocol::kContains}, {"custom", Protocol::kCustom}};

// Whether a question and an answer make up an item, and prompts are built from shots.
constexpr bool HasShots(Protocol protocol) {
  return protocol == Protocol::kGsm8k || protocol == Protocol::kGsm8kCot ||
         protocol == Protocol::kVllmCi;
}

struct TaskItem {
  std::string prompt;                        // the question alone where HasShots
  std::string answer = {};                   // kMultipleChoice and kContains: empty
  std::vector<std::string> choices = {};     // kMultipleChoice
  size_t correct_choice = 0;                 // kMultipleChoice
  std::vector<std::string> references = {};  // kContains
};

// A solved item that stands in front of the question.
struct Shot {
  std::string question;
  std::string answer;
};

enum class WhichMatch { kFirst, kLast };
inline constexpr Word<WhichMatch> kWhichMatchWords[] = {{"first", WhichMatch::kFirst},
                                                        {"last", WhichMatch::kLast}};

// How an answer is found in a text: as Python's re.findall(pattern) does, then its first or last
// match, whose first group that is not empty counts (the whole match where there are no groups).
struct Extraction {
  std::string pattern;  // in Python's syntax
  WhichMatch which = WhichMatch::kFirst;
};

// How many of an item's references a text must hold.
enum class ReferenceRule {
  kAll,  // the score is the share that it holds
  kAny,  // one is enough
};
inline constexpr Word<ReferenceRule> kReferenceRuleWords[] = {{"all", ReferenceRule::kAll},
                                                              {"any", ReferenceRule::kAny}};

struct Task {
  std::string name;
  Protocol protocol = Protocol::kCustom;
  std::vector<TaskItem> items;
  std::vector<std::filesystem::path> files;  // that it was read from: task, items and shots

  std::vector<Shot> shots;  // all there are to draw from; HasShots only
  std::string shot_text;    // kGsm8kCot: the shots as they stand in a text file, instead of `shots`
  int64_t fewshot = 0;      // shots in front of each question

  std::vector<std::string> stops;  // generation ends at the first of them
  int64_t max_new_tokens = 256;
  // The two are the same for a protocol that knows one rule. nullopt: the text itself is the
  // answer, or there is nothing to extract.
  std::optional<Extraction> strict;
  std::optional<Extraction> flexible;
  ReferenceRule reference_rule = ReferenceRule::kAll;

  // Whether items are scored by the likelihood of their choices and nothing is generated.
  bool is_multiple_choice() const { return protocol == Protocol::kMultipleChoice; }
};

// The task without items, with what its protocol fixes: stops, maximum, extractions and the number
// of shots.
Task TaskOfProtocol(Protocol protocol);

}  // namespace kvtune
