// How much work the plans of a population share.
#pragma once

namespace kvtune {

// What the plans have in common and is computed once; each includes those before it. Less than
// kAttention is for benchmarks, which show what it saves; the scores are the same.
enum class Sharing {
  kNothing,
  kReferenceLogits,  // the exact model's logits
  kPrefixes,         // layers up to the first one in which two plans differ
  kAttention,        // keys, values and attention weights of equal formats over one prefix
};

}  // namespace kvtune
