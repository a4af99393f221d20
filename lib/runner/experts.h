// A mixture of experts in place of an MLP.
#pragma once

#include "lib/core/model_config.h"
#include "lib/runner/torch.h"
#include "lib/runner/weights.h"

namespace kvtune {

// Sends every row through the experts that its router logits choose.
// rows: [rows, hidden] -> the same shape
at::Tensor RunExperts(const at::Tensor& rows, const LayerWeights& weights,
                      const ModelConfig& config);

}  // namespace kvtune
