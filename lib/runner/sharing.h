// How much work the plans of a population share.
#pragma once

namespace kvtune {

// What plans have in common and is computed only once; each level includes the levels before it.
// The levels below kAttention exist for benchmarks, which show what sharing saves. The scores are
// the same at every level.
enum class Sharing {
  kNothing,
  kReferenceLogits,  // the exact model's logits
  kPrefixes,         // the layers before the first one in which two plans differ
  kAttention,        // keys, values and attention weights of equal formats over one prefix
};

}  // namespace kvtune
