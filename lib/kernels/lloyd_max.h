// The levels to which vLLM's TurboQuant quantizes keys. They are those of the Lloyd-Max quantizer
// for a channel of a rotated unit vector, which is nearly normal with the variance 1 / head_dim.
#pragma once

#include <cstdint>
#include <vector>

namespace kvtune {

// Returns 2^bits rising levels. They are computed as in solve_lloyd_max of
// vllm/model_executor/layers/quantization/turboquant/centroids.py, with integrals by the
// trapezoidal rule and an iteration that ends after 200 steps at most. Levels that were computed
// once are kept. Any thread may call this. REQUIRES: head_dim > 0, bits in 1..8.
const std::vector<float>& LloydMaxLevels(int64_t head_dim, int bits);

}  // namespace kvtune
