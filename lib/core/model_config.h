// What a decoder is, read from its config.json: the numbers that the runner and the costs need.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "lib/base/json_fields.h"

namespace kvtune {

enum class RopeType { kDefault, kLlama3 };

// Rotary position embedding (arXiv 2104.09864); llama3 scaling as in transformers'
// modeling_rope_utils.py, _compute_llama3_parameters.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  // kLlama3 only.
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 0;
};

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM", "Qwen2ForCausalLM"
  int64_t layer_count = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  RopeConfig rope;
  bool query_key_value_bias = false;
  bool output_bias = false;       // of the attention's output projection
  bool mlp_bias = false;
  bool tied_embeddings = false;   // the head is the embedding matrix

  // Elements that one token adds to one side (keys or values) of one layer's cache.
  int64_t kv_width() const { return kv_heads * head_dim; }
};

// Reads both spellings of the rotary fields (rope_theta/rope_scaling and rope_parameters).
// Throws Error for an architecture, activation or rotary type that is not supported, and for sizes
// that contradict each other. `source` names the file in messages.
ModelConfig ParseModelConfig(const Json& config, const std::string& source);
ModelConfig ReadModelConfig(const std::filesystem::path& config_json);

}  // namespace kvtune
