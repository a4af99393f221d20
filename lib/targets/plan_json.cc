#include "lib/targets/plan_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/core/artifacts.h"
#include "lib/core/schema.h"
#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

// The fields of a PLAN object that do not say what the plan is, and so are ignored.
constexpr const char* kCostsAndScores[] = {"name",
                                           "nominal_bits",
                                           "effective_bits",
                                           "bytes_per_token",
                                           "padded_bytes_per_token",
                                           "latency_ms",
                                           "calibration",
                                           "held_out",
                                           "calibration_interval",
                                           "accuracy",
                                           "search_accuracy"};

PrecisionPlan PlanFromLayers(JsonFields& fields, size_t layer_count) {
  PrecisionPlan plan;
  for (JsonFields& layer : fields.Objects("layers")) {
    plan.layers.push_back(PairFormatsFromJson(std::move(layer)));
  }
  if (plan.layers.size() != layer_count) {
    fields.Fail("layers", fmt::format("found {} layers, expected the model's {}",
                                      plan.layers.size(), layer_count));
  }
  return plan;
}

void CheckHeader(JsonFields& fields, const Target& target) {
  if (fields.Has("schema_version")) fields.Integer("schema_version");
  if (fields.Has("target") && fields.String("target") != target.name) {
    fields.Fail("target", fmt::format("found \"{}\", expected \"{}\" (--target)",
                                      fields.String("target"), target.name));
  }
}

}  // namespace

std::string WritePlanJson(const ScoredPlan& plan, const Provenance&, const Target& target) {
  Json json = {{"schema_version", kSchemaVersion}, {"target", target.name}};
  json.update(ToJson(plan));
  return DumpJson(json);
}

PrecisionPlan PlanFromJson(const Json& written, const std::string& source, size_t layer_count,
                           const Target& target) {
  const Json json = Upgraded(written, KindOf(Artifact::kPlan), source);
  JsonFields fields(json, source);
  if (fields.Has("plans")) {
    fields.Fail("plans", "found a front, expected one plan (write RUN:NAME for a plan of a front)");
  }
  CheckHeader(fields, target);
  for (const char* key : kCostsAndScores) fields.Ignore(key);
  if (!fields.Has("layers")) {
    const std::string spec = fields.String("spec");
    fields.RequireNoOthers();
    return ParsePlanSpec(spec, layer_count, target.shape.pairs);
  }
  const PrecisionPlan plan = PlanFromLayers(fields, layer_count);
  if (fields.Has("spec")) {
    const std::string spec = fields.String("spec");
    if (ParsePlanSpec(spec, layer_count, target.shape.pairs) != plan) {
      fields.Fail("spec", fmt::format("found \"{}\", expected what the layers say, \"{}\"", spec,
                                      PlanSpec(plan)));
    }
  }
  fields.RequireNoOthers();
  return plan;
}

namespace {

bool IsPlanJson(std::string_view content) {
  for (const char* key : {"layers", "spec", "schema_version", "plans"}) {
    if (IsJsonWith(content, key)) return true;
  }
  return false;
}

PrecisionPlan ReadPlanJson(std::string_view content, const std::string& source, size_t layer_count,
                           const Target& target) {
  return PlanFromJson(ParseJson(content, source), source, layer_count, target);
}

}  // namespace

ExportFormat PlanJsonFormat() {
  return {.summary = {"json", "kvtune's own plan file"},
          .words = "spec, layers",
          .write = WritePlanJson,
          .recognizes = IsPlanJson,
          .read = ReadPlanJson,
          .shape = PlanShape{}};
}

}  // namespace kvtune
