#include "lib/runner/extent_pool.h"

#include <algorithm>
#include <iterator>

namespace kvtune {

ExtentPool::ExtentPool(int64_t units) {
  if (units > 0) free_.emplace(0, units);
}

std::optional<int64_t> ExtentPool::Take(int64_t units) {
  const auto found =
      std::ranges::find_if(free_, [&](const auto& range) { return range.second >= units; });
  if (found == free_.end()) return std::nullopt;
  const auto [begin, all] = *found;
  free_.erase(found);
  if (all > units) free_.emplace(begin + units, all - units);
  taken_.emplace(begin, units);
  return begin;
}

void ExtentPool::Give(int64_t begin) {
  const auto taken = taken_.find(begin);
  auto range = free_.emplace(begin, taken->second).first;
  taken_.erase(taken);
  if (const auto next = std::next(range);
      next != free_.end() && range->first + range->second == next->first) {
    range->second += next->second;
    free_.erase(next);
  }
  if (range == free_.begin()) return;
  if (const auto before = std::prev(range); before->first + before->second == range->first) {
    before->second += range->second;
    free_.erase(range);
  }
}

}  // namespace kvtune
