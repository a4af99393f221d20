#include "lib/runner/kv_cache.h"

#include <algorithm>
#include <limits>

namespace kvtune {
namespace {

// Softmax of scores in float32 or wider, together with the logits of the sinks, whose weights are
// left out. scores: [..., kv_heads, shared, tokens]; sinks: [query_heads] or undefined
at::Tensor WeightsOf(at::Tensor scores, const ScoreRule& rule) {
  const at::ScalarType type = scores.scalar_type();
  scores = scores.to(at::promote_types(type, at::kFloat));
  if (rule.soft_cap > 0) scores = scores.div(rule.soft_cap).tanh_().mul_(rule.soft_cap);
  if (!rule.sinks.defined()) return at::softmax(scores, -1).to(type);
  const int64_t tokens = scores.size(-1);
  std::vector<int64_t> shape = scores.sizes().vec();
  shape.back() = 1;
  const at::Tensor sinks =
      rule.sinks.to(scores.scalar_type()).view({scores.size(-3), scores.size(-2), 1}).expand(shape);
  return at::softmax(at::cat({scores, sinks}, -1), -1).narrow(-1, 0, tokens).to(type);
}

}  // namespace

KvCache::KvCache(const Decoder& decoder, int64_t rows, int64_t max_tokens)
    : decoder_(decoder),
      tokens_of_row_(static_cast<size_t>(rows), 0),
      is_live_(static_cast<size_t>(rows), 0) {
  for (const LayerConfig& layer : decoder.config().layers) {
    keys_.emplace_back(rows, layer.kv_heads, max_tokens, layer.key_head_dim, decoder.options());
    values_.emplace_back(rows, layer.kv_heads, max_tokens, layer.value_head_dim, decoder.options());
  }
  positions_.of_row.resize(static_cast<size_t>(rows));
}

int64_t KvCache::BytesPerRow(const ModelConfig& config, int64_t max_tokens,
                             const at::TensorOptions& options) {
  int64_t width = 0;
  for (const LayerConfig& layer : config.layers)
    width += layer.kv_width(KvSide::kKey) + layer.kv_width(KvSide::kValue);
  return width * max_tokens * static_cast<int64_t>(options.dtype().itemsize());
}

void KvCache::Begin(int64_t row, const PrecisionPlan& plan, int64_t tokens) {
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    keys_[layer].SetFormat(row, plan.layers[layer].key);
    values_[layer].SetFormat(row, plan.layers[layer].value);
  }
  tokens_of_row_[static_cast<size_t>(row)] = tokens;
  is_live_[static_cast<size_t>(row)] = 1;
}

void KvCache::End(int64_t row) {
  for (size_t layer = 0; layer < keys_.size(); ++layer) {
    keys_[layer].SetFormat(row, KvFormatId::kExact);
    values_[layer].SetFormat(row, KvFormatId::kExact);
  }
  tokens_of_row_[static_cast<size_t>(row)] = 0;
  is_live_[static_cast<size_t>(row)] = 0;
}

void KvCache::Store(int64_t row, size_t layer, const at::Tensor& keys, const at::Tensor& values) {
  keys_[layer].Store(row, keys);
  values_[layer].Store(row, values);
}

const StepPositions& KvCache::NextPositions() {
  positions_.of_row = tokens_of_row_;
  positions_.index =
      at::from_blob(positions_.of_row.data(), {rows()}, at::kLong)
          .to(decoder_.options().device(), at::kLong, /*non_blocking=*/false, /*copy=*/true);
  masks_.clear();
  return positions_;
}

at::Tensor KvCache::Attend(size_t layer, const QueryKeyValue& newest) {
  const ModelConfig& config = decoder_.config();
  const LayerConfig& shape = config.layers[layer];
  const auto of_rows = [&](const at::Tensor& x) {  // [rows, heads, head_dim]
    return x.squeeze(0).narrow(1, 0, rows()).transpose(0, 1);
  };
  const LayerSide key_side = decoder_.SideOfLayer(layer, KvSide::kKey);
  const LayerSide value_side = decoder_.SideOfLayer(layer, KvSide::kValue);
  keys_[layer].Append(of_rows(newest.key), positions_, key_side);
  values_[layer].Append(of_rows(newest.value), positions_, value_side);
  // [rows, kv_heads, query heads that share it, head_dim]
  const at::Tensor query = of_rows(newest.query)
                               .reshape({rows(), shape.kv_heads,
                                         config.query_heads / shape.kv_heads, shape.key_head_dim});
  const at::Tensor attended = query.device().is_cpu() ? AttendOneByOne(layer, query, newest.rule)
                                                      : AttendTogether(layer, query, newest.rule);
  keys_[layer].Flush(positions_, key_side);
  values_[layer].Flush(positions_, value_side);
  const at::Tensor by_row = attended.reshape({rows(), config.query_heads * shape.value_head_dim});
  const int64_t width = newest.query.size(2);
  if (width == rows()) return by_row;
  at::Tensor padded = at::zeros({width, by_row.size(1)}, by_row.options());
  padded.narrow(0, 0, rows()).copy_(by_row);
  return padded;
}

at::Tensor KvCache::AttendOneByOne(size_t layer, const at::Tensor& query,
                                   const ScoreRule& rule) const {
  at::Tensor attended = at::zeros(
      {rows(), query.size(1), query.size(2), values_[layer].held().size(3)}, query.options());
  for (int64_t row = 0; row < rows(); ++row) {
    if (is_live_[static_cast<size_t>(row)] == 0) continue;
    const int64_t tokens = positions_.of_row[static_cast<size_t>(row)] + 1;
    const int64_t seen = rule.window_tokens > 0 ? std::min(rule.window_tokens, tokens) : tokens;
    const auto newest = [&](const StoredSide& side) {
      return side.held().select(0, row).narrow(1, tokens - seen, seen);
    };
    const at::Tensor scores =
        at::matmul(query.select(0, row), newest(keys_[layer]).transpose(1, 2));
    attended.select(0, row).copy_(at::matmul(WeightsOf(scores, rule), newest(values_[layer])));
  }
  return attended;
}

at::Tensor KvCache::AttendTogether(size_t layer, const at::Tensor& query,
                                   const ScoreRule& rule) const {
  const int64_t tokens = *std::ranges::max_element(positions_.of_row) + 1;
  const at::Tensor keys = keys_[layer].held().narrow(2, 0, tokens);
  const at::Tensor values = values_[layer].held().narrow(2, 0, tokens);
  // A mask is added in float32 behind the soft cap.
  at::Tensor scores = at::matmul(query, keys.transpose(2, 3)).to(at::kFloat);
  if (rule.soft_cap > 0) scores.div_(rule.soft_cap).tanh_().mul_(rule.soft_cap);
  scores.add_(MaskOf(rule.window_tokens, tokens));
  const at::Tensor weights =
      WeightsOf(scores, {.window_tokens = 0, .soft_cap = 0, .sinks = rule.sinks});
  return at::matmul(weights.to(values.scalar_type()), values);
}

const at::Tensor& KvCache::MaskOf(int64_t window_tokens, int64_t tokens) const {
  auto [entry, is_new] = masks_.try_emplace(window_tokens);
  if (is_new) {
    const at::Tensor newest = positions_.index.view({rows(), 1, 1, 1});
    const at::Tensor token = at::arange(tokens, positions_.index.options());
    at::Tensor hidden = token.gt(newest);
    if (window_tokens > 0) hidden = hidden.logical_or(token.le(newest - window_tokens));
    entry->second = at::zeros(hidden.sizes(), positions_.index.options().dtype(at::kFloat))
                        .masked_fill_(hidden, -std::numeric_limits<float>::infinity());
  }
  return entry->second;
}

void KvCache::EndStep() {
  for (size_t row = 0; row < tokens_of_row_.size(); ++row) tokens_of_row_[row] += is_live_[row];
}

}  // namespace kvtune
