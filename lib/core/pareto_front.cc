#include "lib/core/pareto_front.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/core/artifacts.h"

namespace kvtune {
namespace {

Json IntervalToJson(const Interval& interval) { return {interval.low, interval.high}; }

Interval IntervalFromJson(JsonFields& fields, std::string_view key) {
  const std::vector<double> interval = fields.Numbers(key);
  if (interval.size() != 2 || interval[0] > interval[1] || std::abs(interval[0]) > kMostNats ||
      std::abs(interval[1]) > kMostNats) {
    fields.Fail(key, fmt::format("found [{}], expected [low, high]", fmt::join(interval, ", ")));
  }
  return {interval[0], interval[1]};
}

Json HeldOutToJson(const HeldOutScore& held_out) {
  Json json = ToJson(held_out.score);
  json["kl_mean_interval"] =
      held_out.loss_interval ? IntervalToJson(*held_out.loss_interval) : Json(nullptr);
  if (held_out.prompts_for_interval > 0)
    json["prompts_for_interval"] = held_out.prompts_for_interval;
  return json;
}

HeldOutScore HeldOutFromJson(JsonFields fields) {
  HeldOutScore held_out;
  fields.Value("kl_mean_interval");  // required, but null when none is claimed
  if (fields.Has("kl_mean_interval"))
    held_out.loss_interval = IntervalFromJson(fields, "kl_mean_interval");
  if (fields.Has("prompts_for_interval"))
    held_out.prompts_for_interval = fields.IntegerFrom("prompts_for_interval", 0);
  held_out.score = PlanScoreFromJson(std::move(fields));
  return held_out;
}

// PlanScoreFromJson ignores the interval, so a calibration score that has one, which only a
// held-out score may have, has to be refused here.
PlanScore CalibrationFromJson(JsonFields fields) {
  for (const std::string_view key : {"kl_mean_interval", "prompts_for_interval"}) {
    if (!fields.Has(key)) continue;
    fields.Fail(key, "found it in a calibration score, expected it in held-out scores only");
  }
  return PlanScoreFromJson(std::move(fields));
}

std::vector<ScoredPlan> PlansFromJson(JsonFields& fields, std::string_view key) {
  std::vector<ScoredPlan> plans;
  for (JsonFields& plan : fields.Objects(key)) plans.push_back(ScoredPlanFromJson(std::move(plan)));
  return plans;
}

Json PlansToJson(const std::vector<ScoredPlan>& plans) {
  Json json = Json::array();
  for (const ScoredPlan& plan : plans) json.push_back(ToJson(plan));
  return json;
}

void CheckPlan(const ScoredPlan& plan, const Provenance& run, const JsonFields& fields,
               std::string_view key, std::set<std::string>& names) {
  if (static_cast<int64_t>(plan.plan.layers.size()) != run.layer_count()) {
    fields.Fail(key, fmt::format("found {} layers in {}, expected {}", plan.plan.layers.size(),
                                 plan.name, run.layer_count()));
  }
  if (!names.insert(plan.name).second) {
    fields.Fail(key, fmt::format("found the name {} twice, expected it once", plan.name));
  }
}

// Whether all layers have the same pair. Exact layers are ignored, because some engines keep layers
// exact beside a pair.
bool HasOnePair(const PrecisionPlan& plan) {
  std::set<PrecisionPair> pairs(plan.layers.begin(), plan.layers.end());
  pairs.erase(kExactPair);
  return pairs.size() < 2;
}

// Throws Error unless every plan has a time, or none has one and nothing says what times are of.
void CheckLatency(const ParetoFront& front, const JsonFields& fields) {
  for (const ScoredPlan* plan : AllPlans(front)) {
    if (plan->cost.latency_ms.has_value() == front.latency.has_value()) continue;
    fields.Fail("latency", front.latency ? fmt::format("found no time of {}, expected one of every "
                                                       "plan",
                                                       plan->name)
                                         : std::string("found times of plans, expected what they "
                                                       "are of"));
  }
}

}  // namespace

bool TakesNoMore(const PlanCost& a, const PlanCost& b) {
  return a.bytes_per_token <= b.bytes_per_token &&
         !(a.latency_ms && b.latency_ms && *a.latency_ms > *b.latency_ms);
}

void WritePlan(Json& object, const PrecisionPlan& plan, const PlanCost& cost) {
  Json layers = Json::array();
  for (const PrecisionPair pair : plan.layers) layers.push_back(PairFormatsToJson(pair));
  object["spec"] = PlanSpec(plan);
  object["layers"] = std::move(layers);
  object["nominal_bits"] = cost.nominal_bits;
  object["effective_bits"] = cost.effective_bits;
  object["bytes_per_token"] = cost.bytes_per_token;
  if (cost.padded_bytes_per_token) object["padded_bytes_per_token"] = *cost.padded_bytes_per_token;
  if (cost.latency_ms) object["latency_ms"] = *cost.latency_ms;
}

CostedPlan ReadPlan(JsonFields& fields) {
  CostedPlan read;
  for (JsonFields& layer : fields.Objects("layers")) {
    read.plan.layers.push_back(PairFormatsFromJson(std::move(layer)));
  }
  if (read.plan.layers.empty()) fields.Fail("layers", "found no layers, expected at least one");
  const std::string spec = fields.String("spec");
  if (spec != PlanSpec(read.plan)) {
    fields.Fail("spec", fmt::format("found \"{}\", expected \"{}\" as \"layers\" says", spec,
                                    PlanSpec(read.plan)));
  }
  // No number of a cache has more bits, and no cache takes a petabyte for a token.
  constexpr double kMostBits = 1024;
  constexpr double kMostBytes = 1e15;
  read.cost.nominal_bits = fields.NumberWithin("nominal_bits", 0, kMostBits);
  read.cost.effective_bits = fields.NumberWithin("effective_bits", 0, kMostBits);
  read.cost.bytes_per_token = fields.NumberWithin("bytes_per_token", 0, kMostBytes);
  if (fields.Has("padded_bytes_per_token")) {
    read.cost.padded_bytes_per_token = fields.NumberWithin("padded_bytes_per_token", 0, kMostBytes);
  }
  if (fields.Has("latency_ms")) read.cost.latency_ms = ReadMilliseconds(fields, "latency_ms");
  return read;
}

Json ToJson(const ScoredPlan& plan) {
  Json json = {{"name", plan.name}};
  WritePlan(json, plan.plan, plan.cost);
  json["calibration"] = plan.calibration.prompts > 0 ? ToJson(plan.calibration) : Json(nullptr);
  if (plan.calibration_interval) {
    json["calibration_interval"] = IntervalToJson(*plan.calibration_interval);
  }
  json["held_out"] = plan.held_out ? HeldOutToJson(*plan.held_out) : Json(nullptr);
  if (plan.accuracy) json["accuracy"] = ToJson(*plan.accuracy);
  if (plan.search_accuracy) json["search_accuracy"] = ToJson(*plan.search_accuracy);
  RequireFinite(json, "writing the plan " + plan.name);
  return json;
}

ScoredPlan ScoredPlanFromJson(JsonFields fields) {
  ScoredPlan plan;
  plan.name = fields.String("name");
  if (plan.name.empty()) fields.Fail("name", "found \"\", expected a name");
  CostedPlan costed = ReadPlan(fields);
  plan.plan = std::move(costed.plan);
  plan.cost = costed.cost;
  plan.calibration = CalibrationFromJson(fields.Object("calibration"));
  if (fields.Has("calibration_interval")) {
    plan.calibration_interval = IntervalFromJson(fields, "calibration_interval");
  }
  if (fields.Has("accuracy")) plan.accuracy = AccuracyScoreFromJson(fields.Object("accuracy"));
  if (fields.Has("search_accuracy"))
    plan.search_accuracy = AccuracyScoreFromJson(fields.Object("search_accuracy"));
  fields.Value("held_out");  // required, but null when nothing was held out
  if (fields.Has("held_out")) plan.held_out = HeldOutFromJson(fields.Object("held_out"));
  fields.RequireNoOthers();
  return plan;
}

Json ToJson(const ParetoFront& front) {
  Json json = {{"schema_version", kSchemaVersion},
               {"run", ToJson(front.run)},
               {"plans", PlansToJson(front.plans)},
               {"uniform", PlansToJson(front.uniform)},
               {"reference", ToJson(front.reference)}};
  if (!front.near.empty()) json["near"] = PlansToJson(front.near);
  if (front.search) json["search"] = ToJson(*front.search);
  if (front.latency) json["latency"] = ToJson(*front.latency);
  return json;
}

ParetoFront ParetoFrontFromJson(const Json& json, const std::string& source) {
  JsonFields fields = OpenArtifact(json, source);
  ParetoFront front;
  front.run = ProvenanceFromJson(fields.Object("run"));
  front.plans = PlansFromJson(fields, "plans");
  front.uniform = PlansFromJson(fields, "uniform");
  front.reference = ScoredPlanFromJson(fields.Object("reference"));
  if (fields.Has("near")) front.near = PlansFromJson(fields, "near");
  if (fields.Has("search")) front.search = SearchSummaryFromJson(fields.Object("search"));
  if (fields.Has("latency")) front.latency = LatencySourceFromJson(fields.Object("latency"));
  fields.RequireNoOthers();

  std::set<std::string> names;
  for (const ScoredPlan& plan : front.plans) CheckPlan(plan, front.run, fields, "plans", names);
  for (const ScoredPlan& plan : front.uniform) {
    CheckPlan(plan, front.run, fields, "uniform", names);
    if (!HasOnePair(plan.plan)) {
      fields.Fail("uniform",
                  fmt::format("found {} in {}, expected one pair for all but exact layers",
                              PlanSpec(plan.plan), plan.name));
    }
  }
  for (const ScoredPlan& plan : front.near) CheckPlan(plan, front.run, fields, "near", names);
  CheckPlan(front.reference, front.run, fields, "reference", names);
  if (!front.reference.plan.is_exact()) {
    fields.Fail("reference",
                fmt::format("found {}, expected the exact plan", PlanSpec(front.reference.plan)));
  }
  CheckLatency(front, fields);
  return front;
}

std::vector<const ScoredPlan*> AllPlans(const ParetoFront& front) {
  std::vector<const ScoredPlan*> all;
  for (const std::vector<ScoredPlan>* plans : {&front.plans, &front.uniform, &front.near}) {
    for (const ScoredPlan& plan : *plans) all.push_back(&plan);
  }
  all.push_back(&front.reference);
  return all;
}

std::vector<ScoredPlan*> AllPlans(ParetoFront& front) {
  std::vector<ScoredPlan*> all;
  for (std::vector<ScoredPlan>* plans : {&front.plans, &front.uniform, &front.near}) {
    for (ScoredPlan& plan : *plans) all.push_back(&plan);
  }
  all.push_back(&front.reference);
  return all;
}

const ScoredPlan* FindPlan(const ParetoFront& front, std::string_view name) {
  const std::vector<const ScoredPlan*> all = AllPlans(front);
  const auto found = std::ranges::find(all, name, &ScoredPlan::name);
  return found == all.end() ? nullptr : *found;
}

}  // namespace kvtune
