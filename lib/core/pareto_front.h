// The result of a search: the plans of the front with their costs and scores.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/base/statistics.h"
#include "lib/core/accuracy_score.h"
#include "lib/core/plan_latency.h"
#include "lib/core/plan_score.h"
#include "lib/core/precision_plan.h"
#include "lib/core/provenance.h"
#include "lib/core/search_summary.h"

namespace kvtune {

struct PlanCost {
  double nominal_bits = 0;     // mean of (key bits + value bits) / 2 over layers
  double effective_bits = 0;   // with scales and zeros, weighted by each layer's width
  double bytes_per_token = 0;  // for the whole model, at the context length of the run
  // The same when the engine pads the pages of all layers to one size. It is nullopt when nothing
  // is padded, because the engine does not do this or the model has no sliding windows.
  std::optional<double> padded_bytes_per_token = std::nullopt;
  // Milliseconds of attention in all layers in a decode step (lib/core/plan_latency.h), >= 0. It
  // is nullopt where no times were measured.
  std::optional<double> latency_ms = std::nullopt;
};

// Whether `a` takes neither more bytes nor, where both times are known, more time than `b`.
bool TakesNoMore(const PlanCost& a, const PlanCost& b);

// Computes what a plan costs from the target and the model's sizes. It is pure and cheap.
using CostFunction = std::function<PlanCost(const PrecisionPlan&)>;

struct HeldOutScore {
  PlanScore score;
  // The 95 % interval of the loss (lib/core/objective.h) over prompts (lib/base/ratio_interval.h),
  // or nullopt when too few prompts carry the loss. Then prompts_for_interval says how many prompts
  // like these would allow one; otherwise it is 0.
  std::optional<Interval> loss_interval;
  int64_t prompts_for_interval = 0;
};

struct ScoredPlan {
  std::string name;  // "p07", "KV4", "exact"; unique in its file
  PrecisionPlan plan;
  PlanCost cost;
  PlanScore calibration;
  std::optional<HeldOutScore> held_out = std::nullopt;
  // The interval of the loss of `calibration`, of the same kind.
  std::optional<Interval> calibration_interval = std::nullopt;
  // What the plan does on a task, where it was asked to.
  std::optional<AccuracyScore> accuracy = std::nullopt;
  // The same on the items of the task that a search by accuracy chose its plans on.
  std::optional<AccuracyScore> search_accuracy = std::nullopt;
};

struct ParetoFront {
  Provenance run;
  std::vector<ScoredPlan> plans;    // non-dominated by loss, bytes and time, most bytes first
  std::vector<ScoredPlan> uniform;  // always scored, whether on the front or not
  ScoredPlan reference;             // the exact plan
  // Plans that are not on the front, but so close to it on the calibration prompts that other
  // prompts may put them there. Most bytes first.
  std::vector<ScoredPlan> near = {};
  std::optional<SearchSummary> search = std::nullopt;
  // Where and how the plans' times were measured; nullopt where they have none.
  std::optional<LatencySource> latency = std::nullopt;

  // Whether the search judged plans by their answers to a task, not by their losses.
  bool is_by_answers() const { return search && search->answers; }
};

// Adds "spec", "layers" and the costs, which is everything about a plan but its name and scores.
void WritePlan(Json& object, const PrecisionPlan& plan, const PlanCost& cost);

// What ReadPlan reads back. "layers" decides which plan it is; ReadPlan throws Error when "spec"
// disagrees.
struct CostedPlan {
  PrecisionPlan plan;
  PlanCost cost;
};
CostedPlan ReadPlan(JsonFields& fields);

// Writes one PLAN of docs/artifacts.md. It can be read without the target, because "layers" holds
// the names of formats. "calibration" is null for a plan that was scored on a task alone, which
// only `kvtune evaluate` writes, and which is not read back.
Json ToJson(const ScoredPlan& plan);
ScoredPlan ScoredPlanFromJson(JsonFields fields);

Json ToJson(const ParetoFront& front);
// Also throws Error for a name that is given twice, for a plan with another number of layers, for a
// uniform plan whose layers differ and for a reference that is not exact.
ParetoFront ParetoFrontFromJson(const Json& json, const std::string& source);

// All plans of the front, uniform ones, those near the front and the reference, in this order.
std::vector<const ScoredPlan*> AllPlans(const ParetoFront& front);
std::vector<ScoredPlan*> AllPlans(ParetoFront& front);

// Finds a plan by name among the front, the uniform plans, the plans near the front and the
// reference. Returns nullptr when there is none.
const ScoredPlan* FindPlan(const ParetoFront& front, std::string_view name);

}  // namespace kvtune
