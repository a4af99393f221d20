#include "lib/runner/kv_cache.h"

#include <algorithm>
#include <limits>

#include "lib/kernels/cuda/decode_attention.h"
#include "lib/runner/cuda_kernels.h"

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
      max_tokens_(max_tokens),
      tokens_of_row_(static_cast<size_t>(rows), 0),
      is_live_(static_cast<size_t>(rows), 0) {
  for (size_t i = 0; i < decoder.config().layers.size(); ++i) {
    const LayerConfig& layer = decoder.config().layers[i];
    const at::TensorOptions options = decoder.OptionsOf(i);
    layers_.push_back(
        {.keys = {rows, layer.kv_heads, max_tokens, layer.key_head_dim, options},
         .values = {rows, layer.kv_heads, max_tokens, layer.value_head_dim, options},
         .is_shared = HasCudaDecodeAttention(options, layer.key_head_dim, layer.value_head_dim),
         .prefixes = SharedPrefixes(rows),
         .groups = {}});
  }
  positions_.resize(decoder.stages().size());
  for (StepPositions& of_stage : positions_) of_stage.of_row.resize(static_cast<size_t>(rows));
  numbers_.resize(decoder.stages().size());
}

std::vector<int64_t> KvCache::BytesPerRow(const Decoder& decoder, int64_t max_tokens) {
  const auto each = static_cast<int64_t>(decoder.options().dtype().itemsize());
  std::vector<int64_t> bytes(decoder.stages().size(), 0);
  for (size_t i = 0; i < decoder.config().layers.size(); ++i) {
    const LayerConfig& layer = decoder.config().layers[i];
    bytes[decoder.StageOf(i)] +=
        (layer.kv_width(KvSide::kKey) + layer.kv_width(KvSide::kValue)) * max_tokens * each;
  }
  return bytes;
}

void KvCache::Begin(int64_t row, const PrecisionPlan& plan, int64_t tokens) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    layer.keys.SetFormat(row, plan.layers[i].key);
    layer.values.SetFormat(row, plan.layers[i].value);
    if (!layer.is_shared) continue;
    for (const auto& move : layer.prefixes.Begin(row, LastingTokens(plan.layers[i], tokens)))
      layer.Side(move.side).Copy(move.from, move.to, move.tokens);
  }
  tokens_of_row_[static_cast<size_t>(row)] = tokens;
  is_live_[static_cast<size_t>(row)] = 1;
}

void KvCache::End(int64_t row) {
  for (Layer& layer : layers_) {
    layer.keys.SetFormat(row, KvFormatId::kExact);
    layer.values.SetFormat(row, KvFormatId::kExact);
    if (layer.is_shared) layer.prefixes.End(row);
  }
  tokens_of_row_[static_cast<size_t>(row)] = 0;
  is_live_[static_cast<size_t>(row)] = 0;
}

void KvCache::Store(std::span<const int64_t> rows, size_t layer, KvSide side,
                    const at::Tensor& stored) {
  Layer& held = layers_[layer];
  held.Side(side).Store(rows.front(), stored);
  for (const int64_t row : rows.subspan(1))
    held.Side(side).Store(row, stored, held.is_shared ? held.prefixes.lasting(row) : 0);
  if (held.is_shared) held.prefixes.Share(rows, side);
}

const StepPositions& KvCache::NextPositions() {
  std::vector<int64_t> of_row;
  for (size_t row = 0; row < is_live_.size(); ++row) {
    // Where no sequence is, the last place is written: others may still read the first ones.
    of_row.push_back(is_live_[row] != 0 ? tokens_of_row_[row] : max_tokens_ - 1);
  }
  for (size_t stage = 0; stage < positions_.size(); ++stage) {
    positions_[stage].of_row = of_row;
    numbers_[stage].Add(of_row, positions_[stage].index);
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const StepPositions& positions = positions_[decoder_.StageOf(i)];
    DeviceNumbers& numbers = numbers_[decoder_.StageOf(i)];
    layer.keys.Prepare(positions, numbers);
    layer.values.Prepare(positions, numbers);
    if (!layer.is_shared || !layer.prefixes.has_changed()) continue;
    const int64_t kv_heads = decoder_.config().layers[i].kv_heads;
    numbers.Add(layer.prefixes.Groups(RowsOfGroup(decoder_.config().query_heads / kv_heads)),
                layer.groups);
  }
  for (size_t stage = 0; stage < numbers_.size(); ++stage)
    numbers_[stage].Send(decoder_.stages()[stage]);
  masks_.clear();
  return positions_.front();
}

at::Tensor KvCache::OfRows(const at::Tensor& newest) const {
  return newest.squeeze(0).narrow(1, 0, rows()).transpose(0, 1);
}

at::Tensor KvCache::Attend(size_t layer, const QueryKeyValue& newest) {
  const LayerSide key_side = decoder_.SideOfLayer(layer, KvSide::kKey);
  const LayerSide value_side = decoder_.SideOfLayer(layer, KvSide::kValue);
  Layer& held = layers_[layer];
  const StepPositions& positions = positions_[decoder_.StageOf(layer)];
  held.keys.Append(OfRows(newest.key), positions, key_side);
  held.values.Append(OfRows(newest.value), positions, value_side);
  at::Tensor attended = Attended(layer, newest);
  held.keys.Flush(key_side);
  held.values.Flush(value_side);
  return attended;
}

at::Tensor KvCache::Attended(size_t layer, const QueryKeyValue& newest) const {
  const ModelConfig& config = decoder_.config();
  const LayerConfig& shape = config.layers[layer];
  const Layer& held = layers_[layer];
  const size_t stage = decoder_.StageOf(layer);
  const int64_t width = newest.query.size(2), channels = config.query_heads * shape.value_head_dim;
  if (held.is_shared) {
    at::Tensor out = at::zeros({width, channels}, newest.query.options());
    CudaDecodeAttention(newest.query.squeeze(0), {held.keys.held(), held.values.held()},
                        {positions_[stage].index, held.groups}, newest.rule, out);
    return out;
  }
  const at::Tensor query = OfRows(newest.query)
                               .reshape({rows(), shape.kv_heads,
                                         config.query_heads / shape.kv_heads, shape.key_head_dim});
  const at::Tensor attended = query.device().is_cpu()
                                  ? AttendOneByOne(held, query, newest.rule)
                                  : AttendTogether(stage, held, query, newest.rule);
  const at::Tensor by_row = attended.reshape({rows(), channels});
  if (width == rows()) return by_row;
  at::Tensor padded = at::zeros({width, channels}, by_row.options());
  padded.narrow(0, 0, rows()).copy_(by_row);
  return padded;
}

at::Tensor KvCache::AttendOneByOne(const Layer& layer, const at::Tensor& query,
                                   const ScoreRule& rule) const {
  at::Tensor attended = at::zeros(
      {rows(), query.size(1), query.size(2), layer.values.held().size(3)}, query.options());
  for (int64_t row = 0; row < rows(); ++row) {
    if (is_live_[static_cast<size_t>(row)] == 0) continue;
    const int64_t tokens = positions_.front().of_row[static_cast<size_t>(row)] + 1;
    const int64_t seen = rule.window_tokens > 0 ? std::min(rule.window_tokens, tokens) : tokens;
    const auto newest = [&](const StoredSide& side) {
      return side.held().select(0, row).narrow(1, tokens - seen, seen);
    };
    const at::Tensor scores = at::matmul(query.select(0, row), newest(layer.keys).transpose(1, 2));
    attended.select(0, row).copy_(at::matmul(WeightsOf(scores, rule), newest(layer.values)));
  }
  return attended;
}

at::Tensor KvCache::AttendTogether(size_t stage, const Layer& layer, const at::Tensor& query,
                                   const ScoreRule& rule) const {
  const int64_t tokens = *std::ranges::max_element(tokens_of_row_) + 1;
  const at::Tensor keys = layer.keys.held().narrow(2, 0, tokens);
  const at::Tensor values = layer.values.held().narrow(2, 0, tokens);
  // A mask is added in float32 behind the soft cap.
  at::Tensor scores = at::matmul(query, keys.transpose(2, 3)).to(at::kFloat);
  if (rule.soft_cap > 0) scores.div_(rule.soft_cap).tanh_().mul_(rule.soft_cap);
  scores.add_(MaskOf(stage, rule.window_tokens, tokens));
  const at::Tensor weights =
      WeightsOf(scores, {.window_tokens = 0, .soft_cap = 0, .sinks = rule.sinks});
  return at::matmul(weights.to(values.scalar_type()), values);
}

const at::Tensor& KvCache::MaskOf(size_t stage, int64_t window_tokens, int64_t tokens) const {
  auto [entry, is_new] = masks_.try_emplace({stage, window_tokens});
  if (is_new) {
    const at::Tensor& index = positions_[stage].index;
    const at::Tensor newest = index.view({rows(), 1, 1, 1});
    const at::Tensor token = at::arange(tokens, index.options());
    at::Tensor hidden = token.gt(newest);
    if (window_tokens > 0) hidden = hidden.logical_or(token.le(newest - window_tokens));
    entry->second = at::zeros(hidden.sizes(), index.options().dtype(at::kFloat))
                        .masked_fill_(hidden, -std::numeric_limits<float>::infinity());
  }
  return entry->second;
}

void KvCache::EndStep() {
  for (size_t row = 0; row < tokens_of_row_.size(); ++row) tokens_of_row_[row] += is_live_[row];
}

}  // namespace kvtune
