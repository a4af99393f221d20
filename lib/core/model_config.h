// What a decoder is, read from its config.json: everything that the runner and the costs need, as
// data. What differs from layer to layer is in LayerConfig.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/kv_format.h"
#include "lib/core/rope_config.h"

namespace kvtune {

// One layer's attention, as its cache and its mask see it.
struct LayerConfig {
  int64_t kv_heads = 0;
  int64_t key_head_dim = 0;
  int64_t value_head_dim = 0;
  // A query sees this many of the newest tokens, its own included, and the cache keeps no others.
  // 0: it sees all of them (full attention).
  int64_t window_tokens = 0;
  std::optional<size_t> rope = 0;  // index into ModelConfig::ropes; nullopt: no rotation (NoPE)

  int64_t head_dim(KvSide side) const {
    return side == KvSide::kKey ? key_head_dim : value_head_dim;
  }
  // Elements that one token adds to one side of this layer's cache.
  int64_t kv_width(KvSide side) const { return kv_heads * head_dim(side); }
  // Tokens that the cache holds after `context` tokens.
  int64_t cached_tokens(int64_t context) const {
    return window_tokens == 0 ? context : std::min(context, window_tokens);
  }
};

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM", "Qwen2ForCausalLM"
  std::vector<LayerConfig> layers;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t query_heads = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  std::vector<RopeConfig> ropes;  // the distinct ones
  bool query_key_value_bias = false;
  bool output_bias = false;      // of the attention's output projection
  bool mlp_bias = false;
  bool tied_embeddings = false;  // the head is the embedding matrix

  int64_t layer_count() const { return static_cast<int64_t>(layers.size()); }
};

// Reads both spellings of the rotary fields (rope_theta/rope_scaling and rope_parameters).
// Throws Error for an architecture, activation or rotary type that is not supported, and for sizes
// that contradict each other. `source` names the file in messages.
ModelConfig ParseModelConfig(const Json& config, const std::string& source);
ModelConfig ReadModelConfig(const std::filesystem::path& config_json);

}  // namespace kvtune
