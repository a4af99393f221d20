#include "lib/runner/observe.h"

#include <algorithm>
#include <map>

#include "lib/runner/attention.h"
#include "lib/runner/attention_errors.h"

namespace kvtune {
namespace {

void AddTo(std::vector<double>& total, std::span<const double> part) {
  for (size_t i = 0; i < total.size(); ++i) total[i] += part[i];
}

template <typename T>
void KeepLarger(std::span<const double> largest, std::vector<T>& maxima) {
  for (size_t i = 0; i < maxima.size(); ++i)
    maxima[i] = std::max(maxima[i], static_cast<T>(largest[i]));
}

// One layer's attention on one prompt. REQUIRES: qkv holds one sequence.
ComparedAttention AttentionOf(const Decoder& decoder, size_t layer, const QueryKeyValue& qkv,
                              std::span<const PrecisionPair> pairs) {
  ComparedAttention attention{.query = qkv.query,
                              .rule = qkv.rule,
                              .exact_key = ExactCacheSide(qkv.key),
                              .exact_value = ExactCacheSide(qkv.value),
                              .keys = {},
                              .values = {},
                              .pairs = {}};
  std::map<KvFormatId, size_t> keys, values;  // places in `attention`
  for (const PrecisionPair pair : pairs) {
    if (keys.try_emplace(pair.key, keys.size()).second)
      attention.keys.push_back(
          MakeCacheSide(qkv.key, FormatOf(pair.key), decoder.SideOfLayer(layer, KvSide::kKey)));
    if (values.try_emplace(pair.value, values.size()).second)
      attention.values.push_back(MakeCacheSide(qkv.value, FormatOf(pair.value),
                                               decoder.SideOfLayer(layer, KvSide::kValue)));
    attention.pairs.push_back({keys.at(pair.key), values.at(pair.value)});
  }
  return attention;
}

// The sums that AddCache reads, in its order.
FetchedSums CacheSums(const ComparedAttention& attention) {
  const at::Tensor &key = attention.exact_key.exact, &value = attention.exact_value.exact;
  const SideErrors keys = CompareSides(key, attention.keys);
  const SideErrors values = CompareSides(value, attention.values);
  const at::Tensor channel_max = at::abs(key.squeeze(0)).amax(1).to(at::kDouble);
  const at::Tensor value_max = at::abs(value.squeeze(0)).flatten(1).amax(1).to(at::kDouble);
  return FetchedSums({keys.heads, values.heads, keys.channel_error, keys.channel_total, channel_max,
                      channel_max.amax(1), value_max});
}

void AddCache(const MeasuredLayer& measured, LayerObservation& observation) {
  const auto sums = measured.cache.Read();
  for (size_t i = 0; i < measured.pairs.size(); ++i) {
    PairErrorSums& pair = observation.pairs[i];
    const size_t heads = pair.kv_heads.size(), channels = pair.key_channel_error.size();
    const auto [key, value] = measured.pairs[i];
    AddTo(pair.key_channel_error, sums[2].subspan(key * channels, channels));
    for (size_t h = 0; h < heads; ++h) {
      HeadErrorSums& head = pair.kv_heads[h];
      const auto k = sums[0].subspan((key * heads + h) * 4);
      const auto v = sums[1].subspan((value * heads + h) * 4);
      head.k_error += k[0];
      head.k_total += k[1];
      head.k_ratio += k[2];
      head.k_count += k[3];
      head.v_error += v[0];
      head.v_total += v[1];
      head.v_ratio += v[2];
      head.v_count += v[3];
    }
  }
  AddTo(observation.key_channel_total, sums[3]);
  KeepLarger(sums[4], observation.key_channel_max);
  KeepLarger(sums[5], observation.maxima.key);
  KeepLarger(sums[6], observation.maxima.value);
}

void AddQueries(const MeasuredLayer& measured, const MeasuredLayer::Queries& queries,
                LayerObservation& observation) {
  const auto sums = queries.errors.Read();
  for (size_t i = 0; i < measured.pairs.size(); ++i) {
    std::vector<HeadErrorSums>& heads = observation.pairs[i].kv_heads;
    for (size_t h = 0; h < heads.size(); ++h) {
      const auto o = sums[1].subspan((i * heads.size() + h) * 4);
      heads[h].a_error += sums[0][measured.pairs[i].key * heads.size() + h];
      heads[h].a_count += queries.visible;
      heads[h].o_error += o[0];
      heads[h].o_total += o[1];
      heads[h].o_ratio += o[2];
      heads[h].o_count += o[3];
    }
  }
  AddTo(observation.concentration_sum, sums[2]);
  observation.concentration_count += static_cast<double>(queries.count);
}

// How many (query, key) pairs the queries [begin, end) of the query heads of a KV head see.
int64_t VisiblePairs(const ComparedAttention& attention, int64_t begin, int64_t end) {
  const int64_t window = attention.rule.window_tokens;
  int64_t pairs = 0;
  for (int64_t query = begin; query < end; ++query)
    pairs += window > 0 ? std::min(query + 1, window) : query + 1;
  return pairs * (attention.query.size(1) / attention.exact_key.exact.size(1));
}

// The errors of the queries [begin, end).
MeasuredLayer::Queries MeasuredQueries(const ComparedAttention& attention,
                                       const AttentionErrors& errors, int64_t begin, int64_t end) {
  return {FetchedSums({errors.weights, errors.outputs, errors.largest}), end - begin,
          static_cast<double>(VisiblePairs(attention, begin, end))};
}

// Takes `hidden` through the exact layer. Returns the attention:
// [1, tokens, query_heads, value_head_dim].
at::Tensor AddExactAttention(const Decoder& decoder, size_t layer, const QueryKeyValue& qkv,
                             at::Tensor& hidden) {
  const at::Tensor attention = ExactAttention(qkv.query, qkv.key, qkv.value, qkv.rule);
  decoder.AddAttentionAndMlp(layer, hidden, attention.reshape({hidden.size(0), -1}));
  return attention;
}

}  // namespace

void MeasuredLayer::AddTo(LayerObservation& observation) const {
  observation.key_bias_norm = key_bias_norm;
  AddCache(*this, observation);
  for (const Queries& some : queries) AddQueries(*this, some, observation);
}

MeasuredLayer ObserveLayer(const Decoder& decoder, size_t layer, at::Tensor& hidden,
                           std::span<const PrecisionPair> pairs, int64_t exact_queries) {
  const int64_t tokens = hidden.size(0);
  const QueryKeyValue qkv = decoder.ProjectQueryKeyValue(layer, hidden.unsqueeze(0), {0, tokens});
  const ComparedAttention attention = AttentionOf(decoder, layer, qkv, pairs);
  MeasuredLayer measured{attention.pairs, decoder.key_bias_norm(layer), CacheSums(attention), {}};
  if (CanCompareByFlash(attention)) {
    const ErrorsWithOutput result = ErrorsByFlash(attention, exact_queries);
    decoder.AddAttentionAndMlp(layer, hidden, result.exact_output.reshape({tokens, -1}));
    measured.queries.push_back(MeasuredQueries(attention, result.errors, exact_queries, tokens));
    return measured;
  }
  const int64_t alignment = attention.alignment();
  for (const QueryBlock& block :
       QueryBlocks(exact_queries / alignment * alignment, tokens, alignment, qkv.rule.window_tokens,
                   decoder.config().query_heads, MaxWeightElements(decoder.options().device()))) {
    // With PrefillMode::kExact the first queries attend exactly, so they show no error and are left
    // out.
    const int64_t skipped = std::max<int64_t>(0, exact_queries - block.begin);
    if (block.begin + skipped >= block.end) continue;
    measured.queries.push_back(MeasuredQueries(attention, ErrorsOfBlock(attention, block, skipped),
                                               block.begin + skipped, block.end));
  }
  AddExactAttention(decoder, layer, qkv, hidden);
  return measured;
}

LayerStates ObserveStates(const Decoder& decoder, size_t layer, at::Tensor& hidden) {
  const auto floats = [](const at::Tensor& x) {
    const at::Tensor values = x.to(at::kFloat).cpu().contiguous();
    return std::vector<float>(values.const_data_ptr<float>(),
                              values.const_data_ptr<float>() + values.numel());
  };
  const QueryKeyValue qkv =
      decoder.ProjectQueryKeyValue(layer, hidden.unsqueeze(0), {0, hidden.size(0)});
  return {floats(qkv.key), floats(qkv.value),
          floats(AddExactAttention(decoder, layer, qkv, hidden))};
}

}  // namespace kvtune
