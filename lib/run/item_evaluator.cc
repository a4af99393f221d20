#include "lib/run/item_evaluator.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "lib/base/error.h"
#include "lib/base/random.h"

namespace kvtune {

ItemSplit SplitItems(size_t item_count, int64_t search_items, uint64_t seed) {
  constexpr size_t kMostByDefault = 200;
  const size_t searched = search_items > 0 ? static_cast<size_t>(search_items)
                                           : std::min(item_count / 2, kMostByDefault);
  if (searched == 0 || searched >= item_count) {
    throw Error(fmt::format("splitting the items of the task: found {} to search on of {}, "
                            "expected at least one and fewer than all, so that some are left to "
                            "test on (--search-items)",
                            searched, item_count),
                ExitCode::kUsage);
  }
  std::vector<size_t> drawn(item_count);
  std::iota(drawn.begin(), drawn.end(), size_t{0});
  Random(DeriveSeed(seed, SeedPurpose::kItemSplit)).Shuffle(std::span(drawn));
  const auto middle = drawn.begin() + static_cast<ptrdiff_t>(searched);
  ItemSplit split{.search = {drawn.begin(), middle}, .test = {middle, drawn.end()}};
  std::ranges::sort(split.test);
  return split;
}

std::vector<std::vector<PromptScore>> ItemEvaluator::ScorePrompts(
    std::span<const PrecisionPlan> plans, PromptRange range) {
  const double half_an_item = 0.5 / static_cast<double>(items_.size());
  // A batch is answered to its end: what an interruption leaves of it is in the log.
  const auto results =
      scorer_.ScoreItems(plans, items_.subspan(range.begin, range.end - range.begin), {});
  std::vector<std::vector<PromptScore>> scores;
  for (const std::vector<ItemResult>& of_plan : results.value()) {
    std::vector<PromptScore>& items = scores.emplace_back();
    for (const ItemResult& result : of_plan) {
      const double wrong = 1 - result.grade.strict + half_an_item;
      items.push_back({.tokens = 1, .kl_sum = wrong, .token_kl = {static_cast<float>(wrong)}});
      generated_tokens_ += result.generated.tokens;
    }
  }
  return scores;
}

}  // namespace kvtune
