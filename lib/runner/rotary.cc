#include "lib/runner/rotary.h"

#include <cmath>
#include <numbers>

namespace kvtune {
namespace {

// transformers, modeling_rope_utils.py: _compute_default_rope_parameters and _compute_llama3_parameters.
std::vector<float> InverseFrequencies(const RopeConfig& rope) {
  std::vector<float> frequencies;
  for (int64_t i = 0; i < rope.rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rope.rotary_dim);
    frequencies.push_back(1.0f / std::pow(static_cast<float>(rope.theta), exponent));
  }
  if (rope.type == RopeType::kDefault) return frequencies;

  const auto original_context = static_cast<double>(rope.original_max_position_embeddings);
  const double longest_kept = original_context / rope.high_freq_factor;
  const double shortest_scaled = original_context / rope.low_freq_factor;
  for (float& frequency : frequencies) {
    const double wavelength = 2 * std::numbers::pi / static_cast<double>(frequency);
    if (wavelength > shortest_scaled) {
      frequency = static_cast<float>(static_cast<double>(frequency) / rope.factor);
    } else if (wavelength >= longest_kept) {
      const double smooth =
          (original_context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      frequency = static_cast<float>((1 - smooth) * static_cast<double>(frequency) / rope.factor +
                                     smooth * static_cast<double>(frequency));
    }
  }
  return frequencies;
}

}  // namespace

RotaryTables MakeRotaryTables(const RopeConfig& rope, int64_t positions,
                              const at::TensorOptions& options) {
  std::vector<float> frequencies = InverseFrequencies(rope);
  const at::Tensor frequency_row = at::from_blob(frequencies.data(), {rope.rotary_dim / 2}, at::kFloat);
  const at::Tensor position_column = at::arange(positions, at::kFloat);
  const at::Tensor angles = at::outer(position_column, frequency_row);  // [positions, rotary_dim / 2]
  return {at::cos(angles).to(options), at::sin(angles).to(options)};
}

at::Tensor Rotate(const at::Tensor& x, const RotaryTables& angles) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor low = x.narrow(-1, 0, half);
  const at::Tensor high = x.narrow(-1, half, half);
  return at::cat({low * angles.cos - high * angles.sin, high * angles.cos + low * angles.sin}, -1);
}

}  // namespace kvtune
