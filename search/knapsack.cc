#include "search/knapsack.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

namespace kvtune {
namespace {

// Bytes as whole numbers of steps, so that sums are equal in whatever order they are added.
int64_t StepsOf(double bytes) {
  constexpr double kStepsPerByte = 1024;
  return std::llround(bytes * kStepsPerByte);
}

// A selection for the items so far: it extends entry `previous` of the front of the items before by
// `choice`.
struct Partial {
  int64_t steps = 0;
  double loss = 0;
  size_t previous = 0;
  size_t choice = 0;
};

// Returns the undominated partial selections by ascending size and so by descending loss. Ties go
// to the first choice and entry, so that the result does not depend on the sorting algorithm.
std::vector<Partial> Undominated(std::vector<Partial> partials) {
  std::sort(partials.begin(), partials.end(), [](const Partial& a, const Partial& b) {
    return std::tie(a.steps, a.loss, a.choice, a.previous) <
           std::tie(b.steps, b.loss, b.choice, b.previous);
  });
  std::vector<Partial> kept;
  for (const Partial& partial : partials) {
    if (kept.empty() || partial.loss < kept.back().loss) kept.push_back(partial);
  }
  constexpr size_t kMaxMembers = 16384;
  if (kept.size() <= kMaxMembers) return kept;
  const int64_t first = kept.front().steps;
  const auto per_member = (kept.back().steps - first) / static_cast<int64_t>(kMaxMembers) + 1;
  std::vector<Partial> thinned;
  for (const Partial& partial : kept) {
    const auto range_of = [&](const Partial& p) { return (p.steps - first) / per_member; };
    if (!thinned.empty() && range_of(thinned.back()) == range_of(partial)) thinned.pop_back();
    thinned.push_back(partial);
  }
  return thinned;
}

}  // namespace

std::vector<std::vector<size_t>> KnapsackFront(std::span<const std::vector<KnapsackChoice>> items) {
  // [0] is the front of no items
  std::vector<std::vector<Partial>> fronts = {std::vector<Partial>(1)};
  for (const std::vector<KnapsackChoice>& choices : items) {
    const std::vector<Partial>& shorter = fronts.back();
    std::vector<Partial> longer;
    longer.reserve(shorter.size() * choices.size());
    for (size_t choice = 0; choice < choices.size(); ++choice) {
      const int64_t steps = StepsOf(choices[choice].bytes);
      for (size_t i = 0; i < shorter.size(); ++i) {
        longer.push_back(
            {shorter[i].steps + steps, shorter[i].loss + choices[choice].loss, i, choice});
      }
    }
    fronts.push_back(Undominated(std::move(longer)));
  }
  std::vector<std::vector<size_t>> selections;
  for (size_t member = 0; member < fronts.back().size(); ++member) {
    std::vector<size_t> selection(items.size());
    size_t entry = member;
    for (size_t item = items.size(); item > 0; --item) {
      const Partial& partial = fronts[item][entry];
      selection[item - 1] = partial.choice;
      entry = partial.previous;
    }
    selections.push_back(std::move(selection));
  }
  return selections;
}

}  // namespace kvtune
