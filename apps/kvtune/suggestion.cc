#include "apps/kvtune/suggestion.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace kvtune {
namespace {

// Levenshtein distance: insertions, deletions and substitutions that turn `a` into `b`.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);  // distances from the first i letters of a
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

}  // namespace

std::string ClosestWord(const std::string& mistyped, std::span<const std::string> words) {
  std::string closest;
  size_t closest_distance = std::max<size_t>(2, mistyped.size() / 3) + 1;
  for (const std::string& word : words) {
    const size_t distance = EditDistance(mistyped, word);
    if (distance < closest_distance) {
      closest = word;
      closest_distance = distance;
    }
  }
  return closest;
}

std::string DidYouMean(const std::string& mistyped, std::span<const std::string> words) {
  const std::string closest = ClosestWord(mistyped, words);
  return closest.empty() ? "" : " (did you mean \"" + closest + "\"?)";
}

}  // namespace kvtune
