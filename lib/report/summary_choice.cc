#include "lib/report/summary_choice.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "lib/report/front_table.h"

namespace kvtune {
namespace {

double BytesOf(const ScoredPlan& plan) { return plan.cost.bytes_per_token; }

bool HasBits(const ScoredPlan& plan, int bits) {
  // Layers that the engine keeps exact beside a format do not count.
  for (const PrecisionPair pair : plan.plan.layers) {
    if (pair.is_exact()) continue;
    if (FormatOf(pair.key).bits != bits || FormatOf(pair.value).bits != bits) return false;
  }
  return !plan.plan.is_exact();
}

// The uniform plan of so many bits with the fewest bytes, then the least loss.
const ScoredPlan* UniformOfBits(const ParetoFront& front, int bits, ScoreSet scores) {
  const ScoredPlan* best = nullptr;
  for (const ScoredPlan& plan : front.uniform) {
    if (!HasBits(plan, bits)) continue;
    const auto key = [&](const ScoredPlan& each) {
      return std::pair(BytesOf(each), LossOf(each, scores));
    };
    if (!best || key(plan) < key(*best)) best = &plan;
  }
  return best;
}

// The first uniform plan whose two sides have 8 bits in every layer, as `pareto pick --lossless`
// takes it.
const ScoredPlan* ReferenceOf(const ParetoFront& front) {
  const auto found =
      std::ranges::find_if(front.uniform, [](const ScoredPlan& plan) { return HasBits(plan, 8); });
  return found == front.uniform.end() ? nullptr : &*found;
}

struct Place {
  const ScoredPlan* plan = nullptr;
  double bytes = 0, loss = 0;  // both from 0 to 1, the loss by its logarithm
};

// The plans of the front below the reference, by ascending bytes, with the reference where there is
// one; scaled so that both directions count alike.
std::vector<Place> PlacesOf(const ParetoFront& front, const ScoredPlan* reference,
                            ScoreSet scores) {
  std::vector<Place> places;
  const auto add = [&](const ScoredPlan& plan) {
    places.push_back({&plan, BytesOf(plan), LogLoss(LossOf(plan, scores))});
  };
  for (const ScoredPlan& plan : front.plans) {
    if (!reference || BytesOf(plan) < BytesOf(*reference)) add(plan);
  }
  if (reference) add(*reference);
  std::ranges::sort(places, {}, &Place::bytes);
  if (places.empty()) return places;
  const auto [small, large] = std::pair(places.front(), places.back());
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

const ScoredPlan* Knee(const std::vector<Place>& places) {
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

// The places on the lower convex hull, those that bend most first.
std::vector<const ScoredPlan*> Knees(const std::vector<Place>& places) {
  std::vector<Place> hull;
  for (const Place& place : places) {
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

}  // namespace

SummaryChoice ChooseForSummary(const ParetoFront& front) {
  SummaryChoice choice;
  choice.scores = ComparableScores(front);
  choice.reference = ReferenceOf(front);
  choice.four_bits = UniformOfBits(front, 4, choice.scores);
  const std::vector<Place> places = PlacesOf(front, choice.reference, choice.scores);
  choice.recommended = Knee(places);
  for (const Place& place : places) {
    if (LossOf(*place.plan, choice.scores) > kSmallestLoss) continue;
    choice.smallest = place.plan;
    break;
  }

  const auto add = [&](const ScoredPlan* plan) {
    if (!plan || choice.rows.size() >= kMostRows) return;
    // A plan that is also one of the others stands there once, by the first of its names.
    for (const ScoredPlan* row : choice.rows) {
      if (row->plan == plan->plan) return;
    }
    choice.rows.push_back(plan);
  };
  add(choice.reference);
  add(choice.four_bits);
  const auto fp8 = std::ranges::find(front.uniform, "fp8_e4m3", &ScoredPlan::name);
  if (fp8 != front.uniform.end()) add(&*fp8);
  add(choice.recommended);
  add(choice.smallest);
  for (const ScoredPlan* plan : Knees(places)) add(plan);
  // Without a knee there may be plans all the same.
  for (const ScoredPlan& plan : front.plans) add(&plan);
  std::ranges::stable_sort(choice.rows, std::greater<>(),
                           [](const ScoredPlan* plan) { return BytesOf(*plan); });
  return choice;
}

}  // namespace kvtune
