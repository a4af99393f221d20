// What a decoder does to each row (token) between its matrix products, on any device. Float32 on a
// CPU uses the fused kernels of row_kernels_cpu.h and a GPU those of cuda_kernels.h, where they are
// built; everything else uses libtorch's operators.
#pragma once

#include "lib/core/model_config.h"
#include "lib/runner/torch.h"

namespace kvtune {

bool UsesCpuKernels(const at::Tensor& x);

// Norms over the last dimension, with statistics in float32 or wider. A weight of a wider type than
// x is applied before the result is rounded to the type of x, and a weight of the same type is
// applied after rounding, because models differ in this order.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Sets the rows to before + scale * delta; `before` may be the rows themselves.
void AddScaled(const at::Tensor& before, const at::Tensor& delta, double scale, at::Tensor& rows);

// Sets the rows to before + scale * delta and returns their norm. before, delta, rows: [rows,
// width]; `before` may be the rows themselves
at::Tensor AddAndRmsNorm(const at::Tensor& before, const at::Tensor& delta, double scale,
                         const at::Tensor& weight, double eps, at::Tensor& rows);

// Norms over the last dimension, in float32 or wider. `bias` may be undefined.
at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps);

// up: [rows, width] -> the same shape
at::Tensor Activated(const at::Tensor& up, PlainActivation activation);

// gate_up: [rows, 2 width], with the gate first -> [rows, width]
at::Tensor Gated(const at::Tensor& gate_up, Activation activation);

// Gated(at::linear(rows, gate_up, bias), activation); where a GPU has one kernel for both, the wide
// halves never reach memory. rows: [rows, depth]; gate_up: [2 width, depth]; `bias` may be
// undefined -> [rows, width]
at::Tensor GatedLinear(const at::Tensor& rows, const at::Tensor& gate_up, const at::Tensor& bias,
                       Activation activation);

// Replaces x by cap tanh(x / cap), in place.
void SoftCap(at::Tensor& x, double cap);

}  // namespace kvtune
