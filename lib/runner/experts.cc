#include "lib/runner/experts.h"

#include <numeric>

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

at::Tensor Of(const at::Tensor& stacked, int64_t expert) {
  return stacked.defined() ? stacked.select(0, expert) : stacked;
}

}  // namespace

at::Tensor RunExperts(const at::Tensor& rows, const LayerWeights& weights,
                      const ModelConfig& config) {
  const Routing routing = Route(rows, weights, config.experts);
  const int64_t per_token = config.experts.per_token;
  // The (row, choice) pairs are ordered by expert, so that each expert needs one product. The sort
  // is stable, so that the sum of a row rounds the same way whatever other rows are there.
  auto [sorted, order] =
      routing.expert.flatten().sort(/*stable=*/true, /*dim=*/0, /*descending=*/false);
  const at::Tensor counts = at::bincount(sorted, {}, config.experts.count).cpu();
  const at::Tensor row = at::floor_divide(order, per_token);
  const at::Tensor weight = routing.weight.flatten().index_select(0, order).unsqueeze(1);
  at::Tensor out = at::zeros_like(rows);
  int64_t begin = 0;
  for (int64_t expert = 0; expert < config.experts.count; ++expert) {
    const int64_t count = counts.const_data_ptr<int64_t>()[expert];
    if (count == 0) continue;
    const at::Tensor index = row.narrow(0, begin, count);
    const at::Tensor gate_up = at::linear(rows.index_select(0, index), Of(weights.gate_up, expert),
                                          Of(weights.gate_up_bias, expert));
    const at::Tensor result = at::linear(Gated(gate_up, config.activation),
                                         Of(weights.down, expert), Of(weights.down_bias, expert));
    out.index_add_(0, index, result * weight.narrow(0, begin, count));
    begin += count;
  }
  if (weights.shared_gate.defined()) {
    const at::Tensor shared = at::linear(
        Gated(at::linear(rows, weights.shared_gate_up), config.activation), weights.shared_down);
    out.add_(shared.mul_(at::sigmoid(at::linear(rows, weights.shared_gate))));
  }
  return out;
}

}  // namespace kvtune
