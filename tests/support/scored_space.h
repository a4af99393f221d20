// Scored plans of a FakeEvaluator without interaction. Its losses are additive, so that a surrogate
// can know them exactly.
#pragma once

#include <utility>
#include <vector>

#include "lib/core/objective.h"
#include "search/proposals.h"
#include "search/surrogate.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {

// The losses of single layers in a FakeEvaluator with these weights.
inline LayerLosses TrueLosses(const std::vector<double>& weights) {
  LayerLosses losses;
  losses.pairs = NinePairs();
  for (const double weight : weights) {
    losses.losses.emplace_back();
    for (const PrecisionPair pair : losses.pairs) {
      losses.losses.back().push_back(weight * FakePairError(pair));
    }
  }
  return losses;
}

struct ScoredByFake {
  explicit ScoredByFake(std::vector<double> weights) : fake(std::move(weights)) {}

  void Add(const PrecisionPlan& plan) {
    plans.push_back(plan);
    objectives.push_back({LogLoss(LossOf(fake.ScoreOf(plan))), FakeCost(plan).bytes_per_token});
  }
  void AddUniform(const std::vector<PrecisionPair>& pairs) {
    for (const PrecisionPair pair : pairs) Add(PrecisionPlan::Uniform(pair, fake.layer_count()));
  }
  ScoredSpace space() const { return {plans, objectives, {1, 1e6}, shape}; }

  FakeEvaluator fake;
  PlanShape shape;
  std::vector<PrecisionPlan> plans;
  std::vector<Objectives> objectives;
};

}  // namespace kvtune
