// Tables for rotary position embedding (arXiv 2104.09864), in the half-split layout of Hugging Face
// files.
#pragma once

#include <mutex>
#include <span>
#include <vector>

#include "lib/core/model_config.h"
#include "lib/runner/torch.h"

namespace kvtune {

struct RotaryTables {
  at::Tensor cos;  // [positions, rotary_dim / 2]
  at::Tensor sin;  // [positions, rotary_dim / 2]
};

// The position of the tokens to rotate within their prompt.
struct Positions {
  int64_t first = 0;          // position of the first token
  int64_t prompt_tokens = 0;  // number of tokens of the whole prompt
};

// Whether LongRoPE turns a prompt of so many tokens by the frequencies of long prompts.
bool TurnsAsLongPrompt(const RopeConfig& rope, int64_t prompt_tokens);

// The tables of one RopeConfig. Angles are computed in float32 as transformers does, then rounded
// to the type of `options`. The tables grow with the longest prompt so far, because a model may
// allow millions of positions that no prompt ever has. Thread-safe.
class RotaryEmbedding {
 public:
  // `max_positions` is the most tokens that a prompt may have.
  RotaryEmbedding(const RopeConfig& rope, int64_t max_positions, const at::TensorOptions& options);

  // Returns the tables for `tokens` tokens from positions.first on. When a prompt is longer than
  // the original context, LongRoPE rotates all of it, from the first token on, by other
  // frequencies.
  RotaryTables Of(const Positions& positions, int64_t tokens);

  // Returns the angles of one token each of several sequences: [positions, rotary_dim / 2]. The
  // token is the newest of its sequence, so that its position says how long the sequence is.
  // `index` holds the same positions as int64 on the device of the tables.
  RotaryTables OfNewest(std::span<const int64_t> positions, const at::Tensor& index);

 private:
  struct Turns {
    std::vector<float> frequencies;
    int64_t positions = 0;  // number of positions in the tables
    RotaryTables tables;
  };

  // Makes the tables longer if they are too short.
  void Grow(Turns& turns, int64_t positions);

  const RopeConfig rope_;
  const int64_t max_positions_;
  const at::TensorOptions options_;
  const int64_t longest_short_prompt_;
  std::mutex growing_;
  Turns turns_;
  Turns long_turns_;  // set for kLongRope only
};

// Rotates channel i against channel i + rotary_dim / 2 and leaves the channels from rotary_dim on
// unchanged. `angles` are those of the tokens of x. Returns a contiguous tensor of the same shape.
// x: [..., tokens, head_dim]
at::Tensor Rotate(const at::Tensor& x, const RotaryTables& angles);

}  // namespace kvtune
