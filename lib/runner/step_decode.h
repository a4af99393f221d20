// Token-by-token decoding with a cache that stores quantized values.
//
// The plain definition of what kvtune predicts: slow, without blocks, trees or masks. The parallel
// scorer is tested against it.
#pragma once

#include "lib/core/measured_model.h"
#include "lib/runner/decoder.h"

namespace kvtune {

// Logits of every position, [tokens, vocab]. The first `exact_queries` tokens attend exactly while
// what they store is quantized like the rest.
at::Tensor LogitsOfDecoding(const Decoder& decoder, const PrecisionPlan& plan,
                            const TokenIds& prompt, int64_t exact_queries);

}  // namespace kvtune
