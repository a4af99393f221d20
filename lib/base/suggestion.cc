#include "lib/base/suggestion.h"

#include <algorithm>
#include <cctype>
#include <numeric>
#include <vector>

namespace kvtune {
namespace {

// A word that begins with fewer letters than this is no guess at what was meant.
constexpr size_t kShortestBeginning = 2;

std::string AsLowerCase(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

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

// The shortest of the words that begin with `beginning`, the first of equally short ones.
std::string ShortestCompletion(const std::string& beginning, std::span<const std::string> words) {
  std::string shortest;
  if (beginning.size() < kShortestBeginning) return shortest;
  for (const std::string& word : words) {
    if (!AsLowerCase(word).starts_with(beginning)) continue;
    if (shortest.empty() || word.size() < shortest.size()) shortest = word;
  }
  return shortest;
}

}  // namespace

std::string ClosestWord(std::string_view mistyped, std::span<const std::string> words) {
  const std::string typed = AsLowerCase(mistyped);
  std::string closest;
  size_t closest_distance = std::max<size_t>(2, typed.size() / 3) + 1;
  for (const std::string& word : words) {
    const size_t distance = EditDistance(typed, AsLowerCase(word));
    if (distance < closest_distance) {
      closest = word;
      closest_distance = distance;
    }
  }
  const std::string completion = ShortestCompletion(typed, words);
  if (completion.empty() || closest.empty()) return completion.empty() ? closest : completion;
  // A single wrong letter is a likelier mistake than a word cut short by several.
  const bool is_near = EditDistance(typed, AsLowerCase(completion)) <= closest_distance;
  return closest_distance <= 1 && !is_near ? closest : completion;
}

std::string DidYouMean(std::string_view mistyped, std::span<const std::string> words) {
  const std::string closest = ClosestWord(mistyped, words);
  return closest.empty() ? "" : " (did you mean \"" + closest + "\"?)";
}

}  // namespace kvtune
