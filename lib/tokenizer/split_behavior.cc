#include "lib/tokenizer/split_behavior.h"

#include <fmt/format.h>

#include <algorithm>

namespace kvtune::tokenizer {
namespace {

// Joins a part to the one kept before it where `joins(is_match, previous_is_match)` says so.
// "Previous" is the neighbour in the cover, whether it was joined or not. The first part counts as
// having no match before it. These are the folds of NormalizedString::split
// (tokenizers/src/tokenizer/normalizer.rs).
template <typename Joins>
void JoinNeighbours(std::vector<CoverPart>& parts, const Joins& joins) {
  size_t kept = 0;
  bool previous_is_match = false;
  for (const CoverPart part : parts) {
    if (kept > 0 && joins(part.is_match, previous_is_match)) {
      CoverPart& last = parts[kept - 1];
      last.begin = std::min(last.begin, part.begin);
      last.end = std::max(last.end, part.end);
    } else {
      parts[kept++] = part;
    }
    previous_is_match = part.is_match;
  }
  parts.resize(kept);
}

}  // namespace

SplitBehavior ReadSplitBehavior(JsonFields& fields, std::string_view key) {
  const std::string name = fields.String(key);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fields.Fail(key,
              fmt::format("found \"{}\", expected one of Removed, Isolated, MergedWithPrevious, "
                          "MergedWithNext, Contiguous",
                          name));
}

void ApplySplitBehavior(SplitBehavior behavior, std::vector<CoverPart>& cover) {
  const auto first_match_joins = [](bool is_match, bool previous_is_match) {
    return is_match && !previous_is_match;
  };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return;
    case SplitBehavior::kRemoved:
      std::erase_if(cover, [](const CoverPart& part) { return part.is_match; });
      return;
    case SplitBehavior::kContiguous:
      JoinNeighbours(cover, [](bool is_match, bool previous_is_match) {
        return is_match == previous_is_match;
      });
      return;
    case SplitBehavior::kMergedWithPrevious:
      JoinNeighbours(cover, first_match_joins);
      return;
    case SplitBehavior::kMergedWithNext:
      std::reverse(cover.begin(), cover.end());
      JoinNeighbours(cover, first_match_joins);
      std::reverse(cover.begin(), cover.end());
      return;
  }
}

}  // namespace kvtune::tokenizer
