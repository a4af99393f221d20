// What a decoder does to each row (token) between its matrix products, on any device: the fused
// kernels of row_kernels_cpu.h for float32 on a CPU, operators elsewhere.
#pragma once

#include "lib/core/model_config.h"
#include "lib/runner/torch.h"

namespace kvtune {

bool UsesCpuKernels(const at::Tensor& x);

// Over the last dimension, with statistics in float32 or wider. A weight of a wider type than x is
// applied before the result is rounded to x's type, one of the same type after that: models differ.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Over the last dimension, in float32 or wider; `bias` may be undefined.
at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps);

// up: [rows, width] -> same shape
at::Tensor Activated(const at::Tensor& up, PlainActivation activation);

// gate_up: [rows, 2 width], gate first -> [rows, width]
at::Tensor Gated(const at::Tensor& gate_up, Activation activation);

// In place, cap tanh(x / cap).
void SoftCap(at::Tensor& x, double cap);

}  // namespace kvtune
