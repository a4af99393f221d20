// A model runner that shows its intermediate results to tests, oracles and benchmarks. The product
// does not use it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lib/runner/model_runner.h"
#include "lib/runner/sharing.h"

namespace kvtune {

// The arithmetic of a probe. In kFloat64, rounding rarely moves a value over a quantization step,
// so two orders of computation can be compared.
enum class ProbeArithmetic { kOfOptions, kFloat64 };

struct ProbeOptions {
  ProbeArithmetic arithmetic = ProbeArithmetic::kOfOptions;
  Sharing sharing = Sharing::kAttention;
  // How many rows prompts share in a batch and a piece of a layer at most; 0: they are run one by
  // one. nullopt: as many as the device likes, which on a CPU is one by one.
  std::optional<int64_t> batch_rows = std::nullopt;
};

// What the exact model computes in one layer. All arrays are row-major.
struct LayerStates {
  std::vector<float> keys;    // [kv_heads, tokens, key_head_dim], normed and rotated as cached
  std::vector<float> values;  // [kv_heads, tokens, value_head_dim]
  // [tokens, query_heads, value_head_dim], before the output projection
  std::vector<float> attention;
};

class ModelProbe : public ModelRunner {
 public:
  // Loads the model as ModelRunner does. REQUIRES: checkpoint outlives the probe.
  ModelProbe(const Checkpoint& checkpoint, const ModelOptions& options,
             const ProbeOptions& probe = {});

  // Returns the logits of all positions under a plan, row-major [tokens, vocab_size].
  std::vector<float> Logits(const TokenIds& prompt, const PrecisionPlan& plan);
  // Returns the states of the exact model, one entry for each layer.
  std::vector<LayerStates> ExactStates(const TokenIds& prompt);
  // Returns the logits from token-by-token decoding with a cache that stores quantized values. It
  // is slow, and it is the reference that Logits and Generate are tested against. The first
  // `exact_queries` tokens attend exactly; nullopt: as many as the runner's prefill says for
  // scoring this prompt. REQUIRES: !streams_weights().
  std::vector<float> LogitsByDecoding(const TokenIds& prompt, const PrecisionPlan& plan,
                                      std::optional<int64_t> exact_queries = std::nullopt);
};

}  // namespace kvtune
