// Rotary position embedding tables (arXiv 2104.09864), in the half-split layout of Hugging Face
// files.
#pragma once

#include <mutex>
#include <vector>

#include "lib/core/model_config.h"
#include "lib/runner/torch.h"

namespace kvtune {

struct RotaryTables {
  at::Tensor cos;  // [positions, rotary_dim / 2]
  at::Tensor sin;  // [positions, rotary_dim / 2]
};

// Where some tokens of a prompt are.
struct Positions {
  int64_t first = 0;
  int64_t prompt_tokens = 0;  // of the whole prompt
};

// The tables of one RopeConfig. Angles are computed in float32 as transformers does, then rounded
// to `options`' type. They are as long as the longest prompt so far: a model may allow millions of
// positions that no prompt has. Thread-safe.
class RotaryEmbedding {
 public:
  // Of prompts of up to `max_positions` tokens.
  RotaryEmbedding(const RopeConfig& rope, int64_t max_positions, const at::TensorOptions& options);

  // Of `tokens` tokens from positions.first on. LongRoPE turns a prompt that is longer than the
  // original context by other frequencies, from its first token on.
  RotaryTables Of(const Positions& positions, int64_t tokens);

 private:
  struct Turns {
    std::vector<float> frequencies;
    int64_t positions = 0;  // of the tables
    RotaryTables tables;
  };

  const RopeConfig rope_;
  const int64_t max_positions_;
  const at::TensorOptions options_;
  int64_t longest_short_prompt_;
  std::mutex growing_;
  Turns turns_;
  Turns long_turns_;  // kLongRope only
};

// Rotates channel i against channel i + rotary_dim / 2 and leaves those from rotary_dim on.
// x: [..., tokens, head_dim]; angles of these tokens. Returns a contiguous tensor of the same
// shape.
at::Tensor Rotate(const at::Tensor& x, const RotaryTables& angles);

}  // namespace kvtune
