#include "lib/runner/row_ops.h"

#include "lib/kernels/row_kernels_cpu.h"
#include "lib/runner/cuda_kernels.h"

namespace kvtune {

bool UsesCpuKernels(const at::Tensor& x) {
  return x.device().is_cpu() && x.scalar_type() == at::kFloat;
}

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  if (UsesCpuKernels(x)) {
    const at::Tensor rows = x.contiguous();
    at::Tensor out = at::empty_like(rows);
    RmsNormRows(rows.const_data_ptr<float>(), weight.const_data_ptr<float>(),
                out.mutable_data_ptr<float>(), rows.numel() / rows.size(-1), rows.size(-1),
                static_cast<float>(eps));
    return out;
  }
  if (UsesCudaKernels(x)) return CudaRmsNorm(x, weight, eps);
  const at::Tensor wide = x.to(at::promote_types(x.scalar_type(), at::kFloat));
  const at::Tensor variance = (wide * wide).mean(-1, /*keepdim=*/true);
  const at::Tensor normed = wide * at::rsqrt(variance.add_(eps));
  if (weight.scalar_type() == x.scalar_type()) return normed.to(x.scalar_type()) * weight;
  return (normed * weight).to(x.scalar_type());
}

at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps) {
  const at::ScalarType wide = at::promote_types(x.scalar_type(), at::kFloat);
  return at::layer_norm(x.to(wide), {x.size(-1)}, weight.to(wide),
                        bias.defined() ? bias.to(wide) : bias, eps)
      .to(x.scalar_type());
}

at::Tensor Activated(const at::Tensor& up, PlainActivation activation) {
  if (activation == PlainActivation::kGeluTanh) return at::gelu(up, "tanh");
  const at::Tensor positive = up.clamp_min(0);
  return positive * positive;
}

at::Tensor Gated(const at::Tensor& gate_up, Activation activation) {
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  if (UsesCpuKernels(gate_up)) {
    at::Tensor out = at::empty({rows, width}, gate_up.options());
    GatedRows(gate_up.const_data_ptr<float>(), out.mutable_data_ptr<float>(), rows, width,
              activation);
    return out;
  }
  if (UsesCudaKernels(gate_up) && activation != Activation::kClampedSwiglu)
    return CudaGated(gate_up, activation);
  const at::Tensor gate = gate_up.narrow(1, 0, width), up = gate_up.narrow(1, width, width);
  switch (activation) {
    case Activation::kSilu:
      return at::silu(gate).mul_(up);
    case Activation::kGeluTanh:
      return at::gelu(gate, "tanh").mul_(up);
    case Activation::kClampedSwiglu: {
      const at::Tensor limited = gate.clamp_max(kSwigluLimit);
      const at::Tensor glu = limited * at::sigmoid(limited * kSwigluSlope);
      return up.clamp(-kSwigluLimit, kSwigluLimit).add_(1).mul_(glu);
    }
  }
  return {};
}

at::Tensor GatedLinear(const at::Tensor& rows, const at::Tensor& gate_up, const at::Tensor& bias,
                       Activation activation) {
  if (!bias.defined() && HasCudaGatedLinear(rows, gate_up, activation))
    return CudaGatedLinear(rows, gate_up, activation);
  return Gated(at::linear(rows, gate_up, bias), activation);
}

void AddScaled(const at::Tensor& before, const at::Tensor& delta, double scale, at::Tensor& rows) {
  if (!rows.is_same(before)) rows.copy_(before);
  rows.add_(delta, scale);
}

at::Tensor AddAndRmsNorm(const at::Tensor& before, const at::Tensor& delta, double scale,
                         const at::Tensor& weight, double eps, at::Tensor& rows) {
  if (UsesCudaKernels(rows)) return CudaAddAndNorm(before, delta, scale, weight, eps, rows);
  AddScaled(before, delta, scale, rows);
  return RmsNorm(rows, weight, eps);
}

void SoftCap(at::Tensor& x, double cap) {
  if (UsesCpuKernels(x)) {
    SoftCapElements(x.mutable_data_ptr<float>(), x.numel(), static_cast<float>(cap));
  } else {
    x.div_(cap).tanh_().mul_(cap);
  }
}

}  // namespace kvtune
