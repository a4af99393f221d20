// A gate's config: one served plan, what it is scored on, and how far it may get worse.
//
// One table of fields (config_rules.cc) is both what the reader checks and what the JSON Schema in
// docs/gate_config.schema.json is made from, so that the two cannot disagree.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/calib/prompt_set.h"
#include "lib/core/model_options.h"
#include "lib/gate/verdict.h"

namespace kvtune {

struct GateConfig {
  std::string name;
  std::filesystem::path file;   // where it was read
  std::filesystem::path model;  // as are all paths here: resolved
  std::string model_hash;
  std::string target;
  std::string plan;  // a plan spec
  PromptOptions prompts;
  std::string prompts_hash;
  uint64_t seed = 0;
  int64_t context = 8192;
  PrefillMode prefill = PrefillMode::kQuantized;
  Limits limits;
  double confidence = 0.99;
};

// Throws Error: a field that is missing, unknown, of another type or out of range; limits that
// contradict each other. Paths are relative to the folder of `file`.
GateConfig ReadGateConfig(const std::filesystem::path& file);
GateConfig GateConfigFromJson(const Json& json, const std::filesystem::path& file);

// The config as a new file at config.file, with paths relative to it.
Json ToJson(const GateConfig& config);

// The JSON Schema (draft 2020-12) of a config.
Json GateConfigSchema();

}  // namespace kvtune
