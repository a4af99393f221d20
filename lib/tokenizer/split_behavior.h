// What happens to the matches when a word is split at a pattern.
#pragma once

#include <vector>

#include "lib/base/json_fields.h"
#include "lib/tokenizer/pattern.h"

namespace kvtune::tokenizer {

// The examples split "the-final--countdown" at "-".
enum class SplitBehavior {
  kRemoved,             // the | final | countdown
  kIsolated,            // the | - | final | - | - | countdown
  kMergedWithPrevious,  // the- | final- | - | countdown
  kMergedWithNext,      // the | -final | - | -countdown
  kContiguous,          // the | - | final | -- | countdown
};

// Reads `key` of `fields`. Throws Error, which names the behavior, when it is unknown.
SplitBehavior ReadSplitBehavior(JsonFields& fields, std::string_view key);

// Turns the cover of a word into the parts that the word is split into, in place. Parts may be
// empty, and `is_match` has no meaning afterwards.
void ApplySplitBehavior(SplitBehavior behavior, std::vector<CoverPart>& cover);

}  // namespace kvtune::tokenizer
