#include "lib/runner/experts.h"

#include "lib/runner/cuda_kernels.h"
#include "lib/runner/row_ops.h"

namespace kvtune {
namespace {

struct Routing {
  at::Tensor expert;  // [rows, per_token] of int64
  at::Tensor weight;  // [rows, per_token], of the same type as the rows
};

// Chooses the experts of each row. The softmax is taken in float32 or wider, as in transformers'
// MixtralTopKRouter. GptOssTopKRouter takes the softmax of the chosen logits alone, which equals
// the renormalized softmax here.
Routing Route(const at::Tensor& rows, const LayerWeights& weights, const ExpertConfig& config) {
  const at::Tensor logits = at::linear(rows, weights.router, weights.router_bias);
  const at::Tensor wide = logits.to(at::promote_types(logits.scalar_type(), at::kFloat));
  auto [weight, expert] = at::topk(at::softmax(wide, -1), config.per_token, -1);
  if (config.renormalized) weight = weight / weight.sum(-1, /*keepdim=*/true);
  return {expert, weight.to(rows.scalar_type())};
}

// The choices, (row, expert) pairs in the order of the rows, ordered by expert. The sort is stable,
// so that the sum of a row rounds the same way whatever other rows are there.
struct Choices {
  at::Tensor expert;  // [rows * per_token], rising
  at::Tensor order;   // [rows * per_token], where each of them stood
  at::Tensor row;     // [rows * per_token], whose they are
};

Choices ByExpert(const Routing& routing) {
  auto [expert, order] =
      routing.expert.flatten().sort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  return {expert, order, at::floor_divide(order, routing.expert.size(1))};
}

at::Tensor Of(const at::Tensor& stacked, int64_t expert) {
  return stacked.defined() ? stacked.select(0, expert) : stacked;
}

// One product for each expert.
at::Tensor SumOneByOne(const at::Tensor& rows, const LayerWeights& weights,
                       const ModelConfig& config, const Routing& routing) {
  const Choices choices = ByExpert(routing);
  const at::Tensor counts = at::bincount(choices.expert, {}, config.experts.count).cpu();
  const at::Tensor weight = routing.weight.flatten().index_select(0, choices.order).unsqueeze(1);
  at::Tensor out = at::zeros_like(rows);
  int64_t begin = 0;
  for (int64_t expert = 0; expert < config.experts.count; ++expert) {
    const int64_t count = counts.const_data_ptr<int64_t>()[expert];
    if (count == 0) continue;
    const at::Tensor index = choices.row.narrow(0, begin, count);
    const at::Tensor gated = GatedLinear(rows.index_select(0, index), Of(weights.gate_up, expert),
                                         Of(weights.gate_up_bias, expert), config.activation);
    const at::Tensor result =
        at::linear(gated, Of(weights.down, expert), Of(weights.down_bias, expert));
    out.index_add_(0, index, result * weight.narrow(0, begin, count));
    begin += count;
  }
  return out;
}

// Whether libtorch has one kernel for the products of all experts. It wants rows of weights that
// begin at multiples of 16 bytes.
bool HasGroupedProducts(const at::Tensor& rows, const LayerWeights& weights) {
  return UsesCudaKernels(rows) && IsOnHopper(rows) && rows.scalar_type() == at::kBFloat16 &&
         weights.gate_up.size(2) % 8 == 0 && weights.down.size(2) % 8 == 0;
}

// One product for all experts, after which nothing waits for the host.
at::Tensor SumTogether(const at::Tensor& rows, const LayerWeights& weights,
                       const ModelConfig& config, const Routing& routing) {
  const Choices choices = ByExpert(routing);
  const at::Tensor experts = at::arange(config.experts.count, choices.expert.options());
  const at::Tensor ends =
      at::searchsorted(choices.expert, experts, /*out_int32=*/true, /*right=*/true);
  const auto product = [&](const at::Tensor& in, const at::Tensor& weight, const at::Tensor& bias) {
    at::Tensor out = at::_grouped_mm(in, weight.transpose(1, 2), ends);
    if (bias.defined()) out.add_(bias.index_select(0, choices.expert));
    return out;
  };
  const at::Tensor gate_up =
      product(rows.index_select(0, choices.row), weights.gate_up, weights.gate_up_bias);
  const at::Tensor results =
      product(Gated(gate_up, config.activation), weights.down, weights.down_bias);
  at::Tensor places = at::empty_like(choices.order);
  places.scatter_(0, choices.order, at::arange(places.numel(), places.options()));
  return CudaSumOfChoices(results, places.view_as(routing.expert), routing.weight.contiguous());
}

}  // namespace

at::Tensor RunExperts(const at::Tensor& rows, const LayerWeights& weights,
                      const ModelConfig& config) {
  const Routing routing = Route(rows, weights, config.experts);
  at::Tensor out = HasGroupedProducts(rows, weights) ? SumTogether(rows, weights, config, routing)
                                                     : SumOneByOne(rows, weights, config, routing);
  if (weights.shared_gate.defined()) {
    const at::Tensor shared = at::linear(
        GatedLinear(rows, weights.shared_gate_up, {}, config.activation), weights.shared_down);
    out.add_(shared.mul_(at::sigmoid(at::linear(rows, weights.shared_gate))));
  }
  return out;
}

}  // namespace kvtune
