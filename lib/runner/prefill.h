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
#include "lib/runner/plan_pass.h"
#include "lib/runner/plan_tree.h"

namespace kvtune {

// A plan under which a prompt is continued, and the row of the cache where that happens.
struct PlacedPlan {
  int64_t row = 0;
  PrecisionPlan plan;
};

// The exact keys and values of the tokens with which all prompts of a request begin, by layer and
// by what the layers below store.
class SharedBeginning {
 public:
  SharedBeginning() = default;
  // Makes the pass over the tokens, under all plans together. Exact prefill has one plan, the exact
  // one.
  SharedBeginning(Decoder& decoder, const TokenIds& tokens, std::span<const PrecisionPlan> plans);

  // The bytes that it takes.
  static int64_t Bytes(const ModelConfig& config, int64_t tokens,
                       std::span<const PrecisionPlan> plans, const at::TensorOptions& options);

  int64_t tokens() const { return layers_.empty() ? 0 : layers_.front().keys.size(2); }
  // What stands in front of a prompt's other tokens in each layer of a tree of some of the plans.
  std::vector<EarlierTokens> For(const PlanTree& tree) const;

 private:
  PlanTree tree_;
  std::vector<EarlierTokens> layers_;  // variants are the nodes of the layer below
};

class Prefill {
 public:
  // REQUIRES: decoder and beginning outlive the object. The latter may be of no tokens.
  Prefill(Decoder& decoder, PrefillMode mode, const SharedBeginning& beginning)
      : decoder_(decoder), stream_(decoder), mode_(mode), beginning_(beginning) {}

  // Begins the rows of the plans with this prompt and returns the hidden states of its last token
  // under each: [plans, hidden]. With quantized prefill, attention reads what the plan stores, and
  // plans share the layers that they have in common. With exact prefill, one exact pass serves all
  // plans; it is kept for a next call with the same prompt.
  at::Tensor Fill(const TokenIds& prompt, std::span<const PlacedPlan> plans, KvCache& cache);

 private:
  at::Tensor FillQuantized(const TokenIds& prompt, std::span<const PlacedPlan> plans,
                           KvCache& cache);
  at::Tensor FillExact(const TokenIds& prompt, std::span<const PlacedPlan> plans, KvCache& cache);
  // The hidden states of what the beginning leaves of a prompt, before the first layer.
  at::Tensor Embedded(const TokenIds& prompt) const;
  // Keeps the exact pass over the prompt.
  void Learn(const TokenIds& prompt);

  struct KeysAndValues {
    at::Tensor keys;    // [kv_heads, tokens, key_head_dim]
    at::Tensor values;  // [kv_heads, tokens, value_head_dim]
  };

  Decoder& decoder_;
  LayerStream stream_;
  PrefillMode mode_;
  const SharedBeginning& beginning_;
  // The last exact pass.
  TokenIds prompt_;
  std::vector<KeysAndValues> exact_;  // by layer
  at::Tensor last_hidden_;            // [1, hidden]
};

}  // namespace kvtune
