// A model runner that shows its inside to tests, oracles and benchmarks. The product does not use
// it.
#pragma once

#include <vector>

#include "lib/runner/model_runner.h"
#include "lib/runner/sharing.h"

namespace kvtune {

// kFloat64 makes it rare that rounding moves a value over a quantization step, so that two orders
// of computation can be compared.
enum class ProbeArithmetic { kOfOptions, kFloat64 };

struct ProbeOptions {
  ProbeArithmetic arithmetic = ProbeArithmetic::kOfOptions;
  Sharing sharing = Sharing::kAttention;
};

// What the exact model computes in one layer, row-major.
struct LayerStates {
  std::vector<float> keys;    // [kv_heads, tokens, key_head_dim], normed and rotated as cached
  std::vector<float> values;  // [kv_heads, tokens, value_head_dim]
  std::vector<float>
      attention;  // [tokens, query_heads, value_head_dim], before the output projection
};

class ModelProbe : public ModelRunner {
 public:
  // As ModelRunner. REQUIRES: checkpoint outlives the probe.
  ModelProbe(const Checkpoint& checkpoint, const ModelOptions& options,
             const ProbeOptions& probe = {});

  // Logits of all positions under a plan, row-major [tokens, vocab_size].
  std::vector<float> Logits(const TokenIds& prompt, const PrecisionPlan& plan);
  // One entry a layer, of the exact model.
  std::vector<LayerStates> ExactStates(const TokenIds& prompt);
  // Logits by token-by-token decoding with a cache that stores quantized values: slow, and the
  // truth that Logits is tested against. REQUIRES: !streams_weights().
  std::vector<float> LogitsByDecoding(const TokenIds& prompt, const PrecisionPlan& plan);
};

}  // namespace kvtune
