// Token-by-token decoding with a cache that stores quantized values.
//
// This is the plain definition of what kvtune predicts: one sequence, one token at a time through
// the cache that generation uses (kv_cache.h). It is slow and has no blocks, trees or masks. The
// parallel scorer is tested against it, and so is generation.
#pragma once

#include "lib/core/measured_model.h"
#include "lib/runner/decoder.h"

namespace kvtune {

// Returns the logits of every position, [tokens, vocab]. The first `exact_queries` tokens attend
// exactly, while the keys and values that they store are quantized like all others.
at::Tensor LogitsOfDecoding(const Decoder& decoder, const PrecisionPlan& plan,
                            const TokenIds& prompt, int64_t exact_queries);

}  // namespace kvtune
