#include "lib/runner/rotary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace kvtune {
namespace {

// The names and formulas below are those of transformers, modeling_rope_utils.py.

std::vector<float> DefaultFrequencies(const RopeConfig& rope) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < rope.rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rope.rotary_dim);
    frequencies.push_back(1.0f / std::pow(static_cast<float>(rope.theta), exponent));
  }
  return frequencies;
}

// Follows _compute_llama3_parameters.
void ScaleLlama3(const RopeConfig& rope, std::vector<float>& frequencies) {
  const auto original_context = static_cast<double>(rope.original_max_position_embeddings);
  const double longest_kept = original_context / rope.high_freq_factor;
  const double shortest_scaled = original_context / rope.low_freq_factor;
  for (float& frequency : frequencies) {
    const double wavelength = 2 * std::numbers::pi / static_cast<double>(frequency);
    if (wavelength > shortest_scaled) {
      frequency = static_cast<float>(static_cast<double>(frequency) / rope.factor);
    } else if (wavelength >= longest_kept) {
      const double smooth = (original_context / wavelength - rope.low_freq_factor) /
                            (rope.high_freq_factor - rope.low_freq_factor);
      frequency = static_cast<float>((1 - smooth) * static_cast<double>(frequency) / rope.factor +
                                     smooth * static_cast<double>(frequency));
    }
  }
}

// Follows _compute_yarn_parameters: channels that turn often keep their frequency, those that turn
// seldom are interpolated, and there is a ramp between them.
void ScaleYarn(const RopeConfig& rope, std::vector<float>& frequencies) {
  const auto width = static_cast<double>(rope.rotary_dim);
  // Returns the channel that makes this many turns within the original context.
  const auto channel_of = [&](double turns) {
    return width *
           std::log(static_cast<double>(rope.original_max_position_embeddings) /
                    (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = channel_of(rope.beta_fast), high = channel_of(rope.beta_slow);
  if (rope.truncated) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, width - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double interpolated = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const auto frequency = static_cast<double>(frequencies[i]);
    frequencies[i] =
        static_cast<float>(frequency / rope.factor * interpolated + frequency * (1 - interpolated));
  }
}

void Divide(std::vector<float>& frequencies, const std::vector<double>& factors) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = static_cast<float>(static_cast<double>(frequencies[i]) / factors[i]);
  }
}

// The longest prompt that turns by the frequencies of short ones.
int64_t LongestShortPrompt(const RopeConfig& rope) {
  return rope.type == RopeType::kLongRope ? rope.original_max_position_embeddings
                                          : std::numeric_limits<int64_t>::max();
}

RotaryTables TablesOf(const RopeConfig& rope, std::vector<float>& frequencies, int64_t positions,
                      const at::TensorOptions& options) {
  const at::Tensor frequency_row =
      at::from_blob(frequencies.data(), {rope.rotary_dim / 2}, at::kFloat);
  const at::Tensor position_column = at::arange(positions, at::kFloat);
  const at::Tensor angles =
      at::outer(position_column, frequency_row);  // [positions, rotary_dim / 2]
  return {(at::cos(angles).mul_(rope.attention_factor)).to(options),
          (at::sin(angles).mul_(rope.attention_factor)).to(options)};
}

}  // namespace

bool TurnsAsLongPrompt(const RopeConfig& rope, int64_t prompt_tokens) {
  return prompt_tokens > LongestShortPrompt(rope);
}

RotaryEmbedding::RotaryEmbedding(const RopeConfig& rope, int64_t max_positions,
                                 const at::TensorOptions& options)
    : rope_(rope),
      max_positions_(max_positions),
      options_(options),
      longest_short_prompt_(LongestShortPrompt(rope)) {
  std::vector<float>& frequencies = turns_.frequencies = DefaultFrequencies(rope);
  switch (rope.type) {
    case RopeType::kDefault:
      break;
    case RopeType::kLinear:
      Divide(frequencies, std::vector<double>(frequencies.size(), rope.factor));
      break;
    case RopeType::kLlama3:
      ScaleLlama3(rope, frequencies);
      break;
    case RopeType::kYarn:
      ScaleYarn(rope, frequencies);
      break;
    case RopeType::kLongRope:
      long_turns_.frequencies = frequencies;
      Divide(long_turns_.frequencies, rope.long_factor);
      Divide(frequencies, rope.short_factor);
      break;
  }
}

void RotaryEmbedding::Grow(Turns& turns, int64_t positions) {
  if (positions <= turns.positions) return;
  // The tables grow to twice the need, so that prompts that get longer little by little do not
  // recompute them each time.
  turns.positions = std::max(positions, std::min(2 * positions, max_positions_));
  turns.tables = TablesOf(rope_, turns.frequencies, turns.positions, options_);
}

RotaryTables RotaryEmbedding::Of(const Positions& positions, int64_t tokens) {
  const std::scoped_lock lock(growing_);
  Turns& turns = positions.prompt_tokens > longest_short_prompt_ ? long_turns_ : turns_;
  Grow(turns, std::max(positions.first + tokens, positions.prompt_tokens));
  return {turns.tables.cos.narrow(0, positions.first, tokens),
          turns.tables.sin.narrow(0, positions.first, tokens)};
}

RotaryTables RotaryEmbedding::OfNewest(std::span<const int64_t> positions,
                                       const at::Tensor& index) {
  const std::scoped_lock lock(growing_);
  const auto is_long = [&](int64_t position) { return position >= longest_short_prompt_; };
  const int64_t needed = *std::ranges::max_element(positions) + 1;
  const auto long_ones = std::ranges::count_if(positions, is_long);
  const auto gathered = [&](Turns& turns) {
    Grow(turns, needed);
    return RotaryTables{turns.tables.cos.index_select(0, index),
                        turns.tables.sin.index_select(0, index)};
  };
  if (long_ones == 0) return gathered(turns_);
  const RotaryTables far = gathered(long_turns_);
  if (long_ones == std::ssize(positions)) return far;
  const RotaryTables near = gathered(turns_);
  const at::Tensor chooses_far = index.ge(longest_short_prompt_).unsqueeze(1);
  return {at::where(chooses_far, far.cos, near.cos), at::where(chooses_far, far.sin, near.sin)};
}

at::Tensor Rotate(const at::Tensor& x, const RotaryTables& angles) {
  const int64_t half = angles.cos.size(-1);
  const at::Tensor low = x.narrow(-1, 0, half);
  const at::Tensor high = x.narrow(-1, half, half);
  const at::Tensor rest = x.narrow(-1, 2 * half, x.size(-1) - 2 * half);
  return at::cat({low * angles.cos - high * angles.sin, high * angles.cos + low * angles.sin, rest},
                 -1);
}

}  // namespace kvtune
