#include "search/refinement.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "search/additive_plans.h"

namespace kvtune {
namespace {

// Another pair in one layer, with what it changes according to the surrogate.
struct Move {
  size_t layer = 0;
  PrecisionPair pair;
  double loss = 0;          // nats per token, added
  double bytes = 0;         // per token, added
  double milliseconds = 0;  // added; 0 where plans have no time
};

// What a pair adds to the cost of the exact plan.
struct AddedCost {
  double bytes = 0;
  double milliseconds = 0;
};

// What a plan takes, in whole numbers: 1/1024 bytes and nanoseconds.
using TakenSteps = std::pair<int64_t, int64_t>;

TakenSteps StepsOf(const Objectives& objectives) {
  constexpr double kSizesPerByte = 1024, kNanosecondsPerMillisecond = 1e6;
  return {std::llround(objectives.bytes * kSizesPerByte),
          std::llround(objectives.milliseconds.value_or(0) * kNanosecondsPerMillisecond)};
}

class Proposer {
 public:
  Proposer(const LayerLosses& losses, const CostFunction& cost, const ScoredSpace& scored)
      : losses_(losses),
        cost_(cost),
        scored_(scored),
        known_(scored.plans.begin(), scored.plans.end()) {
    for (size_t layer = 0; layer < losses.layer_count(); ++layer) AddLayerCosts();
    for (const size_t i : NonDominated(scored.objectives)) {
      front_.push_back(scored.objectives[i]);
      if (!scored.plans[i].is_exact()) parents_.push_back(i);
    }
  }

  std::vector<PrecisionPlan> Propose(size_t count) {
    std::vector<Proposal> from_surrogate = SurrogateProposals();
    std::vector<Proposal> from_moves = MoveProposals();
    std::vector<PrecisionPlan> proposals;
    bool surrogate_turn = true;
    while (proposals.size() < count) {
      std::optional<Proposal> best = TakeBestOf(surrogate_turn ? from_surrogate : from_moves);
      if (!best) best = TakeBestOf(surrogate_turn ? from_moves : from_surrogate);
      if (!best) break;
      surrogate_turn = !surrogate_turn;
      front_.push_back(best->predicted);
      // The surrogate's front and the moves may both propose the same plan.
      if (known_.insert(best->plan).second) proposals.push_back(std::move(best->plan));
    }
    return proposals;
  }

 private:
  void AddLayerCosts();
  bool Promising(const Objectives& predicted) const;
  std::vector<Proposal> SurrogateProposals() const;
  std::vector<Proposal> MoveProposals() const;
  std::vector<Move> MovesOf(const PrecisionPlan& plan, size_t layer) const;
  std::optional<Proposal> TakeBestOf(std::vector<Proposal>& proposals) const;

  const LayerLosses& losses_;
  const CostFunction& cost_;
  const ScoredSpace& scored_;
  std::unordered_set<PrecisionPlan, PrecisionPlanHash> known_;
  std::vector<std::vector<AddedCost>> costs_;  // [layers][pairs]
  std::vector<size_t> parents_;                // scored plans on the front, without the exact one
  std::vector<Objectives> front_;  // of the scored plans, then also of the proposed ones
};

void Proposer::AddLayerCosts() {
  PrecisionPlan plan = PrecisionPlan::Uniform(kExactPair, losses_.layer_count());
  const PlanCost exact = cost_(plan);
  std::vector<AddedCost> costs;
  for (const PrecisionPair pair : losses_.pairs) {
    plan.layers[costs_.size()] = pair;
    const PlanCost cost = cost_(plan);
    costs.push_back({cost.bytes_per_token - exact.bytes_per_token,
                     cost.latency_ms.value_or(0) - exact.latency_ms.value_or(0)});
  }
  costs_.push_back(std::move(costs));
}

bool Proposer::Promising(const Objectives& predicted) const {
  return std::none_of(front_.begin(), front_.end(), [&](const Objectives& member) {
    return member.loss <= predicted.loss && member.bytes <= predicted.bytes &&
           member.milliseconds <= predicted.milliseconds;
  });
}

std::vector<Proposal> Proposer::SurrogateProposals() const {
  std::vector<Proposal> proposals;
  for (PrecisionPlan& plan :
       ThinOverBytes(SurrogateFront(losses_, cost_, scored_.shape), cost_, kProposedSizes)) {
    const Objectives predicted = PredictObjectives(losses_, cost_, plan);
    if (!known_.contains(plan) && Promising(predicted)) {
      proposals.push_back({std::move(plan), predicted});
    }
  }
  return proposals;
}

std::vector<Move> Proposer::MovesOf(const PrecisionPlan& plan, size_t layer) const {
  const size_t now = static_cast<size_t>(
      std::find(losses_.pairs.begin(), losses_.pairs.end(), plan.layers[layer]) -
      losses_.pairs.begin());
  std::vector<Move> moves;
  for (size_t i = 0; i < losses_.pairs.size(); ++i) {
    if (i == now) continue;
    moves.push_back({layer, losses_.pairs[i], losses_.losses[layer][i] - losses_.losses[layer][now],
                     costs_[layer][i].bytes - costs_[layer][now].bytes,
                     costs_[layer][i].milliseconds - costs_[layer][now].milliseconds});
  }
  return moves;
}

// The smallest increase in size at which the layer loses less, with the pair that loses least at
// it.
std::optional<Move> StepUp(const std::vector<Move>& moves) {
  std::optional<Move> best;
  for (const Move& move : moves) {
    if (move.bytes <= 0 || move.loss >= 0) continue;
    if (!best || std::tie(move.bytes, move.loss) < std::tie(best->bytes, best->loss)) best = move;
  }
  return best;
}

// The smallest decrease in size, with the pair that loses least at it.
std::optional<Move> StepDown(const std::vector<Move>& moves) {
  std::optional<Move> best;
  for (const Move& move : moves) {
    if (move.bytes >= 0) continue;
    if (!best || std::tuple(-move.bytes, move.loss) < std::tuple(-best->bytes, best->loss)) {
      best = move;
    }
  }
  return best;
}

// Among moved plans of one size and time only the most promising stays, because once one of them is
// scored, the others have nothing left to gain.
std::vector<Proposal> Proposer::MoveProposals() const {
  std::map<TakenSteps, Proposal> best_by_size;
  for (const size_t parent : parents_) {
    const PrecisionPlan& plan = scored_.plans[parent];
    const double surrogate = PredictLoss(losses_, plan);
    const auto offer = [&](std::initializer_list<const Move*> moves) {
      double loss = surrogate;
      Objectives predicted = scored_.objectives[parent];
      for (const Move* move : moves) {
        loss += move->loss;
        predicted.bytes += move->bytes;
        if (predicted.milliseconds) *predicted.milliseconds += move->milliseconds;
      }
      // The loss is a sum of differences, which can round to zero or below when what is left is
      // tiny; hence the lower bound.
      predicted.loss += std::log10(std::max(loss, 1e-6 * surrogate) / surrogate);
      const TakenSteps size = StepsOf(predicted);
      const auto best = best_by_size.find(size);
      if (best != best_by_size.end() && best->second.predicted.loss <= predicted.loss) return;
      if (!Promising(predicted)) return;
      PrecisionPlan moved = plan;
      for (const Move* move : moves) moved.layers[move->layer] = move->pair;
      if (known_.contains(moved) || WhyNot(scored_.shape, moved)) return;
      best_by_size.insert_or_assign(size, Proposal{std::move(moved), predicted});
    };

    std::vector<Move> ups, downs;
    for (size_t layer = 0; layer < losses_.layer_count(); ++layer) {
      const std::vector<Move> moves = MovesOf(plan, layer);
      for (const Move& move : moves) offer({&move});
      if (const auto up = StepUp(moves)) ups.push_back(*up);
      if (const auto down = StepDown(moves)) downs.push_back(*down);
    }
    for (const Move& up : ups) {
      for (const Move& down : downs) {
        if (up.layer != down.layer) offer({&up, &down});
      }
    }
  }
  std::vector<Proposal> proposals;
  for (auto& [size, proposal] : best_by_size) proposals.push_back(std::move(proposal));
  return proposals;
}

std::optional<Proposal> Proposer::TakeBestOf(std::vector<Proposal>& proposals) const {
  std::vector<Objectives> points = FrontOf(front_);
  if (scored_.reference.milliseconds) {
    return TakeLargestGain(proposals, [&](const Objectives& predicted) {
      return HypervolumeGain(points, predicted, scored_.reference);
    });
  }
  const double now = Hypervolume(points, scored_.reference);
  points.emplace_back();
  return TakeBest(proposals, now, [&](const Objectives& predicted) {
    points.back() = predicted;
    return Hypervolume(points, scored_.reference);
  });
}

}  // namespace

std::vector<PrecisionPlan> ProposePlans(const LayerLosses& losses, const CostFunction& cost,
                                        const ScoredSpace& scored, size_t count) {
  return Proposer(losses, cost, scored).Propose(count);
}

}  // namespace kvtune
