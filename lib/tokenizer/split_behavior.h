// What becomes of the matches when a word is split at a pattern.
#pragma once

#include <vector>

#include "lib/base/json_fields.h"
#include "lib/tokenizer/pattern.h"

namespace kvtune::tokenizer {

// "the-final--countdown" split at "-":
enum class SplitBehavior {
  kRemoved,             // the | final | countdown
  kIsolated,            // the | - | final | - | - | countdown
  kMergedWithPrevious,  // the- | final- | - | countdown
  kMergedWithNext,      // the | -final | - | -countdown
  kContiguous,          // the | - | final | -- | countdown
};

// Reads `key` of `fields`. Throws Error naming an unknown behavior.
SplitBehavior ReadSplitBehavior(JsonFields& fields, std::string_view key);

// Turns the cover of a word into its parts, in place. Parts may be empty; `is_match` has no meaning
// afterwards.
void ApplySplitBehavior(SplitBehavior behavior, std::vector<CoverPart>& cover);

}  // namespace kvtune::tokenizer
