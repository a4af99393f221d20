#include "lib/core/front_knees.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace kvtune {
namespace {

struct Place {
  const ScoredPlan* plan = nullptr;
  double bytes = 0, loss = 0;  // from 0 at the smallest and at the best to 1, the loss by its log
};

// By ascending bytes.
std::vector<Place> PlacesOf(std::span<const ScoredPlan* const> plans, ScoreSet scores,
                            double noise_floor) {
  std::vector<Place> places;
  for (const ScoredPlan* plan : plans) {
    const double loss = std::max(LossOf(*plan, scores), noise_floor);
    places.push_back({plan, plan->cost.bytes_per_token, LogLoss(loss)});
  }
  if (places.empty()) return places;
  std::ranges::stable_sort(places, {}, &Place::bytes);
  const Place small = places.front(), large = places.back();
  const double bytes = large.bytes - small.bytes, loss = small.loss - large.loss;
  for (Place& place : places) {
    place.bytes = bytes > 0 ? (place.bytes - small.bytes) / bytes : 0;
    place.loss = loss > 0 ? (place.loss - large.loss) / loss : 0;
  }
  return places;
}

// How far `b` lies below the line from `a` to `c`.
double Bend(const Place& a, const Place& b, const Place& c) {
  if (c.bytes <= a.bytes) return 0;
  const double share = (b.bytes - a.bytes) / (c.bytes - a.bytes);
  return a.loss + share * (c.loss - a.loss) - b.loss;
}

}  // namespace

std::vector<const ScoredPlan*> FrontInBytes(const ParetoFront& front) {
  const auto is_better = [](const ScoredPlan& a, const ScoredPlan& b) {
    const double loss_a = LossOf(a, ScoreSet::kCalibration),
                 loss_b = LossOf(b, ScoreSet::kCalibration);
    const double bytes_a = a.cost.bytes_per_token, bytes_b = b.cost.bytes_per_token;
    return loss_a <= loss_b && bytes_a <= bytes_b && (loss_a < loss_b || bytes_a < bytes_b);
  };
  std::vector<const ScoredPlan*> plans;
  for (const ScoredPlan& plan : front.plans) {
    const bool is_beaten =
        front.latency &&
        std::ranges::any_of(front.plans, [&](const auto& other) { return is_better(other, plan); });
    if (!is_beaten) plans.push_back(&plan);
  }
  return plans;
}

const ScoredPlan* Knee(std::span<const ScoredPlan* const> plans, ScoreSet scores,
                       double noise_floor) {
  const std::vector<Place> places = PlacesOf(plans, scores, noise_floor);
  const ScoredPlan* knee = nullptr;
  double deepest = 0;
  for (const Place& place : places) {
    const double bend = Bend(places.front(), place, places.back());
    if (bend <= deepest) continue;
    deepest = bend;
    knee = place.plan;
  }
  return knee;
}

std::vector<const ScoredPlan*> Knees(std::span<const ScoredPlan* const> plans, ScoreSet scores,
                                     double noise_floor) {
  std::vector<Place> hull;
  for (const Place& place : PlacesOf(plans, scores, noise_floor)) {
    while (hull.size() >= 2 && Bend(hull[hull.size() - 2], hull.back(), place) <= 0)
      hull.pop_back();
    hull.push_back(place);
  }
  std::vector<std::pair<double, const ScoredPlan*>> bends;
  for (size_t i = 1; i + 1 < hull.size(); ++i)
    bends.emplace_back(Bend(hull[i - 1], hull[i], hull[i + 1]), hull[i].plan);
  std::ranges::stable_sort(bends, std::greater<>(), [](const auto& each) { return each.first; });
  std::vector<const ScoredPlan*> knees;
  for (const auto& [bend, plan] : bends) knees.push_back(plan);
  return knees;
}

}  // namespace kvtune
