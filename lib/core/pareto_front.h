// The result of a search: plans with their costs and scores.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/base/statistics.h"
#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"
#include "lib/core/provenance.h"
#include "lib/core/search_summary.h"

namespace kvtune {

struct PlanCost {
  double nominal_bits = 0;     // mean of (key bits + value bits) / 2 over layers
  double effective_bits = 0;   // with scales and zeros, weighted by each layer's width
  double bytes_per_token = 0;  // of the whole model at the context length of the run
  // The same where the engine pads the pages of all layers to one size; nullopt where nothing is
  // padded: another engine, or no sliding windows.
  std::optional<double> padded_bytes_per_token = std::nullopt;
};

// What a plan costs, from the target and the model's sizes; pure and cheap.
using CostFunction = std::function<PlanCost(const PrecisionPlan&)>;

struct HeldOutScore {
  PlanScore score;
  Interval loss_interval;  // of its loss (lib/core/objective.h), bootstrap over prompts
};

struct ScoredPlan {
  std::string name;  // "p07", "KV4", "exact"; unique in its file
  PrecisionPlan plan;
  PlanCost cost;
  PlanScore calibration;
  std::optional<HeldOutScore> held_out = std::nullopt;
  // Of the loss of `calibration`, bootstrap over prompts.
  std::optional<Interval> calibration_interval = std::nullopt;
};

struct ParetoFront {
  Provenance run;
  std::vector<ScoredPlan> plans;    // non-dominated, most bytes first
  std::vector<ScoredPlan> uniform;  // always scored, on the front or not
  ScoredPlan reference;             // the exact plan
  std::optional<SearchSummary> search = std::nullopt;
};

// Adds "spec", "layers" and the costs: what a plan is, without its name and scores.
void WritePlan(Json& object, const PrecisionPlan& plan, const PlanCost& cost);

// Reads them back. "layers" decides; Error when "spec" says otherwise.
struct CostedPlan {
  PrecisionPlan plan;
  PlanCost cost;
};
CostedPlan ReadPlan(JsonFields& fields);

// One PLAN of docs/artifacts.md: readable without the target, since "layers" holds format names.
Json ToJson(const ScoredPlan& plan);
ScoredPlan ScoredPlanFromJson(JsonFields fields);

Json ToJson(const ParetoFront& front);
// Also refuses a name that is given twice, a plan of another layer count, a uniform plan that is
// not and a reference that is not exact.
ParetoFront ParetoFrontFromJson(const Json& json, const std::string& source);

// Plans, uniform plans or the reference by name; nullptr when there is none.
const ScoredPlan* FindPlan(const ParetoFront& front, std::string_view name);

}  // namespace kvtune
