#include "lib/runner/kv_cache.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <utility>

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

KvCache::KvCache(const Decoder& decoder, CacheSize size)
    : decoder_(decoder),
      max_tokens_(size.max_tokens),
      forms_(std::move(size.forms)),
      tokens_of_row_(static_cast<size_t>(size.rows), 0),
      is_live_(static_cast<size_t>(size.rows), 0),
      stages_(decoder.stages().size()) {
  const std::vector<LayerConfig>& shapes = decoder.config().layers;
  const int64_t rows = size.rows;
  if (forms_.empty()) forms_.assign(shapes.size(), CacheForm::kFakeQuantized);
  layers_.resize(shapes.size());
  for (size_t i = 0; i < shapes.size(); ++i) {
    if (is_packed(i)) continue;
    const LayerConfig& shape = shapes[i];
    const at::TensorOptions options = decoder.OptionsOf(i);
    layers_[i].held.emplace(HeldLayer{
        .keys = {rows, shape.kv_heads, max_tokens_, shape.key_head_dim, options},
        .values = {rows, shape.kv_heads, max_tokens_, shape.value_head_dim, options},
        .is_shared = HasCudaDecodeAttention(options, shape.key_head_dim, shape.value_head_dim),
        .prefixes = SharedPrefixes(rows),
        .groups = {}});
  }
  for (size_t i = 0; i < stages_.size(); ++i) {
    Stage& stage = stages_[i];
    stage.positions.of_row.resize(static_cast<size_t>(rows));
    stage.packed_layers = PackedLayersOf(decoder, forms_, i);
    if (stage.packed_layers.empty()) continue;
    std::vector<LayerConfig> of_stage;
    for (const size_t layer : stage.packed_layers) of_stage.push_back(shapes[layer]);
    // A stream takes memory of the device, and the cache may take all that is left.
    stage.streams.emplace(decoder.stages()[i]);
    stage.memory = std::make_unique<PackedMemory>(of_stage, rows, max_tokens_, size.packed_bytes[i],
                                                  decoder.stages()[i]);
    for (size_t j = 0; j < of_stage.size(); ++j)
      layers_[stage.packed_layers[j]].packed.emplace(of_stage[j], decoder.config().query_heads,
                                                     rows, *stage.memory, j);
  }
}

bool KvCache::Admit(int64_t row, const PrecisionPlan& plan, int64_t most_tokens) {
  for (const Stage& stage : stages_) {
    if (stage.memory == nullptr) continue;
    std::vector<PrecisionPair> pairs;
    for (const size_t layer : stage.packed_layers) pairs.push_back(plan.layers[layer]);
    if (stage.memory->Admit(row, pairs, most_tokens)) continue;
    ReleaseMemory(row);  // that other stages have given
    return false;
  }
  return true;
}

void KvCache::ReleaseMemory(int64_t row) {
  for (const Stage& stage : stages_) {
    if (stage.memory != nullptr) stage.memory->Release(row);
  }
}

void KvCache::Begin(int64_t row, const PrecisionPlan& plan, int64_t tokens) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const PrecisionPair pair = plan.layers[i];
    if (is_packed(i)) {
      layers_[i].packed->Begin(row, pair);
      continue;
    }
    HeldLayer& held = *layers_[i].held;
    held.keys.SetFormat(row, pair.key);
    held.values.SetFormat(row, pair.value);
    if (!held.is_shared) continue;
    for (const auto& move : held.prefixes.Begin(row, LastingTokens(pair, tokens)))
      held.Side(move.side).Copy(move.from, move.to, move.tokens);
  }
  tokens_of_row_[static_cast<size_t>(row)] = tokens;
  is_live_[static_cast<size_t>(row)] = 1;
}

void KvCache::End(int64_t row) {
  for (Layer& layer : layers_) {
    if (layer.packed) {
      layer.packed->End(row);
      continue;
    }
    layer.held->keys.SetFormat(row, KvFormatId::kExact);
    layer.held->values.SetFormat(row, KvFormatId::kExact);
    if (layer.held->is_shared) layer.held->prefixes.End(row);
  }
  ReleaseMemory(row);
  tokens_of_row_[static_cast<size_t>(row)] = 0;
  is_live_[static_cast<size_t>(row)] = 0;
}

void KvCache::Store(std::span<const int64_t> rows, size_t layer, KvSide side,
                    const at::Tensor& stored) {
  HeldLayer& held = *layers_[layer].held;
  held.Side(side).Store(rows.front(), stored);
  for (const int64_t row : rows.subspan(1))
    held.Side(side).Store(row, stored, held.is_shared ? held.prefixes.lasting(row) : 0);
  if (held.is_shared) held.prefixes.Share(rows, side);
}

void KvCache::Pack(std::span<const int64_t> rows, size_t layer, const at::Tensor& keys,
                   const at::Tensor& values) {
  layers_[layer].packed->Store(rows, keys, values);
}

const StepPositions& KvCache::NextPositions() {
  std::vector<int64_t> of_row, tokens;
  for (size_t row = 0; row < is_live_.size(); ++row) {
    // Where no sequence is, the last place is written: others may still read the first ones.
    of_row.push_back(is_live_[row] != 0 ? tokens_of_row_[row] : max_tokens_ - 1);
    tokens.push_back(of_row.back() + 1);
  }
  for (Stage& stage : stages_) {
    stage.positions.of_row = of_row;
    stage.numbers.Add(of_row, stage.positions.index);
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    Stage& stage = stages_[decoder_.StageOf(i)];
    if (is_packed(i)) {
      layers_[i].packed->Prepare(tokens, stage.numbers);
      continue;
    }
    HeldLayer& held = *layers_[i].held;
    held.keys.Prepare(stage.positions, stage.numbers);
    held.values.Prepare(stage.positions, stage.numbers);
    if (!held.is_shared || !held.prefixes.has_changed()) continue;
    const int64_t kv_heads = decoder_.config().layers[i].kv_heads;
    stage.numbers.Add(held.prefixes.Groups(RowsOfGroup(decoder_.config().query_heads / kv_heads)),
                      held.groups);
  }
  for (size_t i = 0; i < stages_.size(); ++i) {
    Stage& stage = stages_[i];
    stage.numbers.Send(decoder_.stages()[i]);
    if (stage.memory != nullptr) stage.tokens = stage.positions.index.to(at::kInt).add_(1);
  }
  masks_.clear();
  return stages_.front().positions;
}

at::Tensor KvCache::OfRows(const at::Tensor& newest) const {
  return newest.squeeze(0).narrow(1, 0, rows()).transpose(0, 1);
}

at::Tensor KvCache::Attend(size_t layer, const QueryKeyValue& newest) {
  if (is_packed(layer)) return AttendPacked(layer, newest);
  const LayerSide key_side = decoder_.SideOfLayer(layer, KvSide::kKey);
  const LayerSide value_side = decoder_.SideOfLayer(layer, KvSide::kValue);
  HeldLayer& held = *layers_[layer].held;
  const StepPositions& positions = stages_[decoder_.StageOf(layer)].positions;
  held.keys.Append(OfRows(newest.key), positions, key_side);
  held.values.Append(OfRows(newest.value), positions, value_side);
  at::Tensor attended = Attended(layer, held, newest);
  held.keys.Flush(key_side);
  held.values.Flush(value_side);
  return attended;
}

at::Tensor KvCache::AttendPacked(size_t layer, const QueryKeyValue& newest) {
  const LayerConfig& shape = decoder_.config().layers[layer];
  Stage& stage = stages_[decoder_.StageOf(layer)];
  const int64_t width = newest.query.size(2);
  const std::array<int64_t, 2> sizes{width, decoder_.config().query_heads * shape.value_head_dim};
  // Only rows with a sequence are written.
  const bool writes_all = width == rows() && std::ranges::all_of(is_live_, std::identity());
  at::Tensor out = writes_all ? at::empty(sizes, newest.query.options())
                              : at::zeros(sizes, newest.query.options());
  layers_[layer].packed->Attend(newest, stage.tokens, *stage.streams, out);
  return out;
}

at::Tensor KvCache::Attended(size_t layer, const HeldLayer& held,
                             const QueryKeyValue& newest) const {
  const ModelConfig& config = decoder_.config();
  const LayerConfig& shape = config.layers[layer];
  const size_t stage = decoder_.StageOf(layer);
  const int64_t width = newest.query.size(2), channels = config.query_heads * shape.value_head_dim;
  if (held.is_shared) {
    at::Tensor out = at::zeros({width, channels}, newest.query.options());
    CudaDecodeAttention(newest.query.squeeze(0), {held.keys.held(), held.values.held()},
                        {stages_[stage].positions.index, held.groups}, newest.rule, out);
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

at::Tensor KvCache::AttendOneByOne(const HeldLayer& layer, const at::Tensor& query,
                                   const ScoreRule& rule) const {
  at::Tensor attended = at::zeros(
      {rows(), query.size(1), query.size(2), layer.values.held().size(3)}, query.options());
  for (int64_t row = 0; row < rows(); ++row) {
    if (is_live_[static_cast<size_t>(row)] == 0) continue;
    const int64_t tokens = stages_.front().positions.of_row[static_cast<size_t>(row)] + 1;
    const int64_t seen = rule.window_tokens > 0 ? std::min(rule.window_tokens, tokens) : tokens;
    const auto newest = [&](const StoredSide& side) {
      return side.held().select(0, row).narrow(1, tokens - seen, seen);
    };
    const at::Tensor scores = at::matmul(query.select(0, row), newest(layer.keys).transpose(1, 2));
    attended.select(0, row).copy_(at::matmul(WeightsOf(scores, rule), newest(layer.values)));
  }
  return attended;
}

at::Tensor KvCache::AttendTogether(size_t stage, const HeldLayer& layer, const at::Tensor& query,
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
    const at::Tensor& index = stages_[stage].positions.index;
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
