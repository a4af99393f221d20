// A gate's config names one plan that is served, says what it is scored on, and how far it may get
// worse.
//
// The reader checks a config by a table of fields (config_rules.cc), and the JSON Schema in
// docs/gate_config.schema.json is made from the same table, so that the two cannot disagree.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/calib/prompt_set.h"
#include "lib/core/cache_maxima.h"
#include "lib/core/model_options.h"
#include "lib/gate/verdict.h"
#include "lib/tasks/task_file.h"

namespace kvtune {

// A task whose items the model answers under the plan.
struct GateTask {
  std::filesystem::path file;
  TaskOverrides overrides = {};
  bool apply_chat_template = false;
  AnswerReference against = AnswerReference::kBaseline;
};

struct GateConfig {
  std::string name;
  std::filesystem::path file;   // the file that it was read from
  std::filesystem::path model;  // this and all other paths here are resolved
  std::string model_hash;
  std::string target;
  std::string plan;  // a plan spec
  PromptOptions prompts;
  std::string prompts_hash;
  uint64_t seed = 0;
  int64_t context = 8192;
  PrefillMode prefill = PrefillMode::kQuantized;
  CacheScales scales = CacheScales::kCalibrated;
  std::optional<GateTask> task;
  Limits limits;
  double confidence = 0.99;
};

// Reads a config. Paths in it are relative to the folder of `file`. Throws Error for a field that
// is missing, unknown, of another type or out of range, and for limits that contradict each other.
GateConfig ReadGateConfig(const std::filesystem::path& file);
GateConfig GateConfigFromJson(const Json& written, const std::filesystem::path& file);

// The config as the content of a new file at config.file, with paths relative to that file's
// folder.
Json ToJson(const GateConfig& config);

// The JSON Schema (draft 2020-12) of a config.
Json GateConfigSchema();

}  // namespace kvtune
