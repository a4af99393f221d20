#include "lib/gate/baseline.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/artifacts.h"
#include "lib/core/schema.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// Nats per token. The noise floor is what a change may be by rounding alone, and rounding that adds
// as much as this leaves nothing to judge: a baseline that says more would let any change pass.
constexpr double kHighestNoiseFloor = 1;

void RequireNoiseFloor(double found, const std::string& where) {
  if (found >= 0 && found <= kHighestNoiseFloor) return;
  throw Error(fmt::format("{}: \"noise_floor\": found {} nats per token, expected 0 to {}", where,
                          found, kHighestNoiseFloor));
}

Json BaselineToJson(const Baseline& baseline) {
  Json layers = Json::array();
  for (const PrecisionPair pair : baseline.plan.layers) layers.push_back(PairFormatsToJson(pair));
  Json values = Json::object();
  for (const Metric metric : MetricsOf(baseline.measured)) {
    values[std::string(MetricName(metric))] = ValueOf(baseline.measured, metric);
  }
  Json json = {{"name", baseline.name},           {"run", ToJson(baseline.run)},
               {"spec", PlanSpec(baseline.plan)}, {"layers", std::move(layers)},
               {"values", std::move(values)},     {"measured", ToJson(baseline.measured)}};
  if (!baseline.task_hash.empty()) json["task_hash"] = baseline.task_hash;
  return json;
}

Baseline BaselineFromJson(JsonFields fields) {
  Baseline baseline{.name = fields.String("name"),
                    .run = ProvenanceFromJson(fields.Object("run")),
                    .plan = {},
                    .measured = MeasurementFromJson(fields.Object("measured"))};
  for (JsonFields& layer : fields.Objects("layers")) {
    baseline.plan.layers.push_back(PairFormatsFromJson(std::move(layer)));
  }
  if (fields.Has("task_hash")) baseline.task_hash = fields.String("task_hash");
  if (baseline.task_hash.empty() != baseline.measured.answers.empty()) {
    fields.Fail("task_hash", "found answers without it or it without answers, expected both");
  }
  // For people who read the file; the measurement decides.
  fields.Ignore("spec");
  fields.Ignore("values");
  fields.RequireNoOthers();
  if (!baseline.run.noise_floor) fields.Fail("run", "found no noise_floor, expected it");
  RequireNoiseFloor(*baseline.run.noise_floor, fields.where());
  if (baseline.plan.layers.size() != static_cast<size_t>(baseline.run.layer_count())) {
    fields.Fail("layers", fmt::format("found {} layers, expected {} as in \"run\"",
                                      baseline.plan.layers.size(), baseline.run.layer_count()));
  }
  return baseline;
}

template <typename T>
void RequireSame(std::string_view name, const T& stored, const T& now, const Baseline& baseline,
                 const fs::path& file) {
  if (stored == now) return;
  throw Error(
      fmt::format("{}: the baseline of {}: {}: found {}, expected {} as it is now "
                  "(--update-baseline replaces it)",
                  file.string(), baseline.name, name, stored, now));
}

std::string OrNone(const std::string& text) { return text.empty() ? "none" : text; }

void AddChange(std::string_view name, const std::string& before, const std::string& after,
               std::vector<std::string>& changes) {
  if (before != after) changes.push_back(fmt::format("{}: {} -> {}", name, before, after));
}

}  // namespace

std::vector<Baseline> ReadBaselines(const fs::path& file) {
  if (!fs::exists(file)) {
    throw Error(
        fmt::format("reading the baseline {}: found nothing, expected a file "
                    "(kvtune check --update-baseline writes it)",
                    file.string()));
  }
  return ParseBaselines(ReadFile(file), file.string());
}

std::vector<Baseline> ParseBaselines(std::string_view text, const std::string& source) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw Error(
        fmt::format("reading the baseline {}: found an empty file, expected a baseline", source));
  }
  const Json json = Upgraded(ParseJson(text, source), KindOf(Artifact::kBaseline), source);
  JsonFields fields = OpenArtifact(json, source);
  std::vector<Baseline> baselines;
  for (JsonFields& entry : fields.Objects("baselines")) {
    baselines.push_back(BaselineFromJson(std::move(entry)));
    for (size_t i = 0; i + 1 < baselines.size(); ++i) {
      if (baselines[i].name != baselines.back().name) continue;
      fields.Fail("baselines",
                  fmt::format("found two of the name {}, expected one", baselines[i].name));
    }
  }
  fields.RequireNoOthers();
  if (baselines.empty()) fields.Fail("baselines", "found none, expected one at least");
  return baselines;
}

void WriteBaseline(const fs::path& file, const Baseline& baseline) {
  RequireNoiseFloor(baseline.run.noise_floor.value_or(0),
                    fmt::format("writing the baseline {}", file.string()));
  std::vector<Baseline> baselines;
  if (fs::exists(file)) baselines = ReadBaselines(file);
  std::erase_if(baselines, [&](const Baseline& known) { return known.name == baseline.name; });
  baselines.push_back(baseline);
  Json json = {{"schema_version", kSchemaVersion}, {"baselines", Json::array()}};
  for (const Baseline& entry : baselines) json["baselines"].push_back(BaselineToJson(entry));
  RequireFinite(json, file.string());
  if (file.has_parent_path()) CreateWritableDirectory(file.parent_path());
  WriteOutputFile(file, DumpJson(json));
}

const Baseline& FindBaseline(const std::vector<Baseline>& baselines, std::string_view name,
                             const fs::path& file) {
  std::string names;
  for (const Baseline& baseline : baselines) {
    if (baseline.name == name) return baseline;
    names += (names.empty() ? "" : ", ") + baseline.name;
  }
  throw Error(
      fmt::format("reading the baseline {}: found only {}, expected one of {} "
                  "(kvtune check --update-baseline adds it)",
                  file.string(), names, name));
}

void RequireComparable(const Baseline& baseline, const Provenance& now, ModelChange change,
                       const fs::path& file) {
  const Provenance& stored = baseline.run;
  if (change == ModelChange::kRefuse) {
    RequireSame("model_hash", stored.model_hash, now.model_hash, baseline, file);
  }
  RequireSame("prompts_hash", stored.prompts_hash, now.prompts_hash, baseline, file);
  RequireSame("target", stored.target, now.target, baseline, file);
  RequireSame("prefill", stored.prefill, now.prefill, baseline, file);
  RequireSame("context", stored.context, now.context, baseline, file);
  RequireSame("layer_count", stored.layer_count(), now.layer_count(), baseline, file);
}

void RequireSameCounts(const Baseline& baseline, const Measurement& now, const fs::path& file) {
  const std::vector<PromptScore>& stored = baseline.measured.prompts;
  RequireSame("prompts", stored.size(), now.prompts.size(), baseline, file);
  for (size_t i = 0; i < stored.size(); ++i) {
    RequireSame(fmt::format("tokens of prompt {}", i), stored[i].tokens, now.prompts[i].tokens,
                baseline, file);
  }
}

void RequireSameTask(const Baseline& baseline, const std::string& task_hash, size_t count,
                     const fs::path& file) {
  RequireSame("items of the task", baseline.measured.answers.size(), count, baseline, file);
  RequireSame("task_hash", OrNone(baseline.task_hash), OrNone(task_hash), baseline, file);
}

std::vector<std::string> ChangesOf(const Baseline& before, const Baseline& after) {
  std::vector<std::string> changes;
  AddChange("model_hash", before.run.model_hash, after.run.model_hash, changes);
  AddChange("prompts_hash", before.run.prompts_hash, after.run.prompts_hash, changes);
  AddChange("target", before.run.target, after.run.target, changes);
  AddChange("dtype", before.run.dtype, after.run.dtype, changes);
  AddChange("version", before.run.version, after.run.version, changes);
  AddChange("plan", PlanSpec(before.plan), PlanSpec(after.plan), changes);
  AddChange("task_hash", OrNone(before.task_hash), OrNone(after.task_hash), changes);
  for (const Metric metric : MetricsOf(after.measured)) {
    if (metric == Metric::kAccuracy && before.measured.answers.empty()) continue;
    AddChange(MetricName(metric), fmt::format("{:.6g}", ValueOf(before.measured, metric)),
              fmt::format("{:.6g}", ValueOf(after.measured, metric)), changes);
  }
  return changes;
}

fs::path DefaultBaselineFile(const fs::path& config) {
  return config.parent_path() / "baselines" / config.filename();
}

}  // namespace kvtune
