// The levels of the Lloyd-Max quantizer for a channel of a rotated unit vector, which is nearly
// normal with variance 1 / head_dim: those that vLLM's TurboQuant quantizes keys to.
#pragma once

#include <cstdint>
#include <vector>

namespace kvtune {

// 2^bits rising levels, as solve_lloyd_max of
// vllm/model_executor/layers/quantization/turboquant/centroids.py has them: integrals by the
// trapezoidal rule, an iteration that ends after 200 steps. What is computed once is kept; may be
// called from any thread. REQUIRES: head_dim > 0, bits in 1..8.
const std::vector<float>& LloydMaxLevels(int64_t head_dim, int bits);

}  // namespace kvtune
