// The prompts of sequences that are to be decoded: one parallel pass that fills their cache.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "lib/core/model_options.h"
#include "lib/core/token_ids.h"
#include "lib/runner/decoder.h"
#include "lib/runner/kv_cache.h"
#include "lib/runner/layer_stream.h"

namespace kvtune {

// A plan under which a prompt is continued, and the row of the cache where that happens.
struct PlacedPlan {
  int64_t row = 0;
  PrecisionPlan plan;
};

class Prefill {
 public:
  // REQUIRES: decoder outlives the object.
  Prefill(Decoder& decoder, PrefillMode mode) : decoder_(decoder), stream_(decoder), mode_(mode) {}

  // Begins the rows of the plans with this prompt and returns the hidden states of its last token
  // under each: [plans, hidden]. With quantized prefill, attention reads what the plan stores, and
  // plans share the layers that they have in common. With exact prefill, one exact pass serves all
  // plans; it is kept for a next call with the same prompt.
  at::Tensor Fill(const TokenIds& prompt, std::span<const PlacedPlan> plans, KvCache& cache);

 private:
  at::Tensor FillQuantized(const TokenIds& prompt, std::span<const PlacedPlan> plans,
                           KvCache& cache);
  at::Tensor FillExact(const TokenIds& prompt, std::span<const PlacedPlan> plans, KvCache& cache);
  // Keeps the exact pass over the prompt.
  void Learn(const TokenIds& prompt);

  struct KeysAndValues {
    at::Tensor keys;    // [kv_heads, tokens, key_head_dim]
    at::Tensor values;  // [kv_heads, tokens, value_head_dim]
  };

  Decoder& decoder_;
  LayerStream stream_;
  PrefillMode mode_;
  // The last exact pass.
  TokenIds prompt_;
  std::vector<KeysAndValues> exact_;  // by layer
  at::Tensor last_hidden_;            // [1, hidden]
};

}  // namespace kvtune
