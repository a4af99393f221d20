#include "lib/gate/gate_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/artifacts.h"
#include "lib/core/schema.h"
#include "lib/gate/config_rules.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBundled = "bundled";

std::map<Metric, double> ReadMetrics(JsonFields& fields) {
  std::map<Metric, double> values;
  for (const Metric metric : kMetrics) {
    const std::string_view name = MetricName(metric);
    if (fields.Has(name)) values[metric] = fields.Number(name);
  }
  return values;
}

// A percentile that high is below the mean only where the two were mistaken for each other.
void RequireConsistent(const std::map<Metric, double>& limits, const std::string& where) {
  const auto mean = limits.find(Metric::kKlMean);
  const auto tail = limits.find(Metric::kKlP999);
  if (mean != limits.end() && tail != limits.end() && tail->second < mean->second) {
    throw Error(
        fmt::format("{}: limits: found kl_p999 {} below kl_mean {}, expected the limit of the "
                    "99.9th percentile not to be below that of the mean",
                    where, tail->second, mean->second));
  }
}

Limits ReadLimits(JsonFields& fields) {
  Limits limits;
  JsonFields absolute = fields.Object("limits");
  limits.absolute = ReadMetrics(absolute);
  if (absolute.Has("relative")) {
    JsonFields relative = absolute.Object("relative");
    limits.relative = ReadMetrics(relative);
  }
  if (fields.Has("tolerance")) {
    JsonFields tolerance = fields.Object("tolerance");
    limits.tolerance = ReadMetrics(tolerance);
  }
  RequireConsistent(limits.absolute, fields.where());
  return limits;
}

// A limit that nothing is measured for would hold for ever.
void RequireTaskForAccuracy(const GateConfig& config, const JsonFields& fields) {
  if (config.task) return;
  const auto has_accuracy = [](const std::map<Metric, double>& values) {
    return values.contains(Metric::kAccuracy);
  };
  if (has_accuracy(config.limits.absolute) || has_accuracy(config.limits.tolerance)) {
    fields.Fail("limits", "found accuracy without a task, expected \"task\" to name its file");
  }
}

GateTask ReadTask(JsonFields fields, const fs::path& folder) {
  GateTask task{.file = (folder / fields.String("file")).lexically_normal()};
  if (fields.Has("limit")) task.overrides.limit = fields.Integer("limit");
  if (fields.Has("fewshot")) task.overrides.fewshot = fields.Integer("fewshot");
  if (fields.Has("apply_chat_template")) {
    task.apply_chat_template = fields.Bool("apply_chat_template");
  }
  if (fields.Has("against")) {
    task.against = ValueOf(kAnswerReferenceWords, fields.String("against"), "against");
  }
  return task;
}

std::vector<fs::path> ReadPrompts(JsonFields& fields, const fs::path& folder) {
  const std::vector<std::string> names = fields.Strings("prompts");
  if (names.size() == 1 && names.front() == kBundled) return {};
  std::vector<fs::path> files;
  for (const std::string& name : names) {
    if (name == kBundled)
      fields.Fail("prompts", "found \"bundled\" beside files, expected it alone");
    files.push_back((folder / name).lexically_normal());
  }
  return files;
}

// Absolute first: a folder that is there and one that is not cannot be compared otherwise.
std::string RelativeTo(const fs::path& folder, const fs::path& path) {
  return fs::relative(fs::absolute(path), fs::absolute(folder.empty() ? "." : folder))
      .generic_string();
}

Json TaskToJson(const GateTask& task, const fs::path& folder) {
  Json json = {{"file", RelativeTo(folder, task.file)}};
  if (task.overrides.limit > 0) json["limit"] = task.overrides.limit;
  if (task.overrides.fewshot) json["fewshot"] = *task.overrides.fewshot;
  if (task.apply_chat_template) json["apply_chat_template"] = true;
  json["against"] = WordOf(kAnswerReferenceWords, task.against);
  return json;
}

Json MetricsToJson(const std::map<Metric, double>& values) {
  Json json = Json::object();
  for (const auto& [metric, value] : values) json[std::string(MetricName(metric))] = value;
  return json;
}

}  // namespace

GateConfig GateConfigFromJson(const Json& written, const fs::path& file) {
  const Json json = Upgraded(written, KindOf(Artifact::kGateConfig), file.string());
  JsonFields fields(json, file.string());
  RequireRules(fields, GateConfigRules());
  const fs::path folder = file.parent_path();
  GateConfig config;
  config.name = fields.String("name");
  config.file = file;
  config.model = (folder / fields.String("model")).lexically_normal();
  config.model_hash = fields.String("model_hash");
  config.target = fields.String("target");
  config.plan = fields.String("plan");
  config.prompts.files = ReadPrompts(fields, folder);
  config.prompts_hash = fields.String("prompts_hash");
  PromptOptions& prompts = config.prompts;
  if (fields.Has("max_prompts")) prompts.max_prompts = fields.Integer("max_prompts");
  if (fields.Has("max_tokens")) prompts.max_tokens = fields.Integer("max_tokens");
  if (fields.Has("long_prompts")) {
    prompts.long_prompts = ValueOf(kLongPromptWords, fields.String("long_prompts"), "long_prompts");
  }
  if (fields.Has("prompt_template")) prompts.prompt_template = fields.String("prompt_template");
  if (fields.Has("seed")) config.seed = fields.Unsigned("seed");
  if (fields.Has("context")) config.context = fields.Integer("context");
  if (fields.Has("prefill")) {
    config.prefill = ValueOf(kPrefillWords, fields.String("prefill"), "prefill");
  }
  if (fields.Has("scales")) {
    config.scales = ValueOf(kCacheScaleWords, fields.String("scales"), "scales");
  }
  if (fields.Has("task")) config.task = ReadTask(fields.Object("task"), folder);
  config.limits = ReadLimits(fields);
  RequireTaskForAccuracy(config, fields);
  if (fields.Has("confidence")) config.confidence = fields.Number("confidence");
  return config;
}

GateConfig ReadGateConfig(const fs::path& file) {
  const std::string text = ReadFile(file);
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw Error(fmt::format("reading the config {}: found an empty file, expected a JSON object",
                            file.string()));
  }
  return GateConfigFromJson(ParseJson(text, file.string()), file);
}

Json ToJson(const GateConfig& config) {
  const fs::path folder = config.file.parent_path();
  Json prompts = Json::array();
  for (const fs::path& file : config.prompts.files) prompts.push_back(RelativeTo(folder, file));
  if (prompts.empty()) prompts.push_back(kBundled);
  Json json = {{"schema_version", kSchemaVersion},
               {"name", config.name},
               {"model", RelativeTo(folder, config.model)},
               {"model_hash", config.model_hash},
               {"target", config.target},
               {"plan", config.plan},
               {"prompts", std::move(prompts)},
               {"prompts_hash", config.prompts_hash}};
  if (config.prompts.max_prompts > 0) json["max_prompts"] = config.prompts.max_prompts;
  json["max_tokens"] = config.prompts.max_tokens;
  json["long_prompts"] = WordOf(kLongPromptWords, config.prompts.long_prompts);
  if (!config.prompts.prompt_template.empty()) {
    json["prompt_template"] = config.prompts.prompt_template;
  }
  json["seed"] = config.seed;
  json["context"] = config.context;
  json["prefill"] = WordOf(kPrefillWords, config.prefill);
  if (config.scales != CacheScales::kCalibrated) {
    json["scales"] = WordOf(kCacheScaleWords, config.scales);
  }
  if (config.task) json["task"] = TaskToJson(*config.task, folder);
  json["limits"] = MetricsToJson(config.limits.absolute);
  if (!config.limits.relative.empty())
    json["limits"]["relative"] = MetricsToJson(config.limits.relative);
  if (!config.limits.tolerance.empty()) json["tolerance"] = MetricsToJson(config.limits.tolerance);
  json["confidence"] = config.confidence;
  return json;
}

Json GateConfigSchema() {
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "A config of kvtune check"}};
  schema.update(SchemaOf(GateConfigRules()));
  return schema;
}

}  // namespace kvtune
