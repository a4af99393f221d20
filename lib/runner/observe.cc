#include "lib/runner/observe.h"

#include <algorithm>
#include <map>

#include "lib/runner/attention.h"
#include "lib/runner/attention_errors.h"

namespace kvtune {
namespace {

// Brings tensors of float64 to the CPU, all in one transfer: a GPU that is waited for is idle.
std::vector<std::vector<double>> Fetched(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> flat;
  for (const at::Tensor& x : tensors) flat.push_back(x.reshape({-1}));
  const at::Tensor all = at::cat(flat).cpu();
  const double* next = all.const_data_ptr<double>();
  std::vector<std::vector<double>> numbers;
  for (const at::Tensor& x : flat) {
    numbers.emplace_back(next, next + x.numel());
    next += x.numel();
  }
  return numbers;
}

void AddTo(std::vector<double>& total, std::span<const double> part) {
  for (size_t i = 0; i < total.size(); ++i) total[i] += part[i];
}

// Observes one layer on one prompt.
class LayerObserver {
 public:
  // REQUIRES: qkv holds one sequence.
  LayerObserver(const Decoder& decoder, size_t layer, const QueryKeyValue& qkv,
                std::span<const PrecisionPair> pairs, LayerObservation& observation)
      : attention_{.query = qkv.query,
                   .rule = qkv.rule,
                   .exact_key = ExactCacheSide(qkv.key),
                   .exact_value = ExactCacheSide(qkv.value),
                   .keys = {},
                   .values = {},
                   .pairs = {}},
        observation_(observation) {
    std::map<KvFormatId, size_t> keys, values;  // places in attention_
    for (const PrecisionPair pair : pairs) {
      if (keys.try_emplace(pair.key, keys.size()).second)
        attention_.keys.push_back(
            MakeCacheSide(qkv.key, FormatOf(pair.key), decoder.SideOfLayer(layer, KvSide::kKey)));
      if (values.try_emplace(pair.value, values.size()).second)
        attention_.values.push_back(MakeCacheSide(qkv.value, FormatOf(pair.value),
                                                  decoder.SideOfLayer(layer, KvSide::kValue)));
      attention_.pairs.push_back({keys.at(pair.key), values.at(pair.value)});
    }
    keys_ = CompareSides(qkv.key, attention_.keys);
    values_ = CompareSides(qkv.value, attention_.values);
  }

  const ComparedAttention& attention() const { return attention_; }

  void AddCache() {
    const at::Tensor channel_max = at::abs(attention_.exact_key.exact.squeeze(0)).amax(1);
    const at::Tensor value_max =
        at::abs(attention_.exact_value.exact.squeeze(0)).flatten(1).amax(1);
    const auto fetched = Fetched({keys_.heads, values_.heads, keys_.channel_error,
                                  keys_.channel_total, channel_max.to(at::kDouble),
                                  channel_max.amax(1).to(at::kDouble), value_max.to(at::kDouble)});
    for (size_t i = 0; i < attention_.pairs.size(); ++i) {
      PairErrorSums& sums = observation_.pairs[i];
      const size_t heads = sums.kv_heads.size(), channels = sums.key_channel_error.size();
      const auto [key, value] = attention_.pairs[i];
      AddTo(sums.key_channel_error, std::span(fetched[2]).subspan(key * channels, channels));
      for (size_t h = 0; h < heads; ++h) {
        HeadErrorSums& head = sums.kv_heads[h];
        const double* k = &fetched[0][(key * heads + h) * 4];
        const double* v = &fetched[1][(value * heads + h) * 4];
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
    AddTo(observation_.key_channel_total, fetched[3]);
    KeepLarger(fetched[4], observation_.key_channel_max);
    KeepLarger(fetched[5], observation_.maxima.key);
    KeepLarger(fetched[6], observation_.maxima.value);
  }

  // Adds the errors of the queries [begin, end).
  void AddAttention(const AttentionErrors& errors, int64_t begin, int64_t end) {
    const auto fetched = Fetched({errors.weights, errors.outputs, errors.largest});
    const double visible = static_cast<double>(VisiblePairs(begin, end));
    for (size_t i = 0; i < attention_.pairs.size(); ++i) {
      std::vector<HeadErrorSums>& heads = observation_.pairs[i].kv_heads;
      for (size_t h = 0; h < heads.size(); ++h) {
        const double* o = &fetched[1][(i * heads.size() + h) * 4];
        heads[h].a_error += fetched[0][attention_.pairs[i].key * heads.size() + h];
        heads[h].a_count += visible;
        heads[h].o_error += o[0];
        heads[h].o_total += o[1];
        heads[h].o_ratio += o[2];
        heads[h].o_count += o[3];
      }
    }
    AddTo(observation_.concentration_sum, fetched[2]);
    observation_.concentration_count += static_cast<double>(end - begin);
  }

 private:
  template <typename T>
  static void KeepLarger(const std::vector<double>& largest, std::vector<T>& maxima) {
    for (size_t i = 0; i < maxima.size(); ++i)
      maxima[i] = std::max(maxima[i], static_cast<T>(largest[i]));
  }

  // Returns how many (query, key) pairs the queries [begin, end) of the query heads of a KV head
  // see.
  int64_t VisiblePairs(int64_t begin, int64_t end) const {
    const int64_t window = attention_.rule.window_tokens;
    int64_t pairs = 0;
    for (int64_t query = begin; query < end; ++query)
      pairs += window > 0 ? std::min(query + 1, window) : query + 1;
    return pairs * (attention_.query.size(1) / attention_.exact_key.exact.size(1));
  }

  ComparedAttention attention_;
  SideErrors keys_, values_;
  LayerObservation& observation_;
};

// Takes `hidden` through the exact layer. Returns the attention:
// [1, tokens, query_heads, value_head_dim].
at::Tensor AddExactAttention(const Decoder& decoder, size_t layer, const QueryKeyValue& qkv,
                             at::Tensor& hidden) {
  const at::Tensor attention = ExactAttention(qkv.query, qkv.key, qkv.value, qkv.rule);
  decoder.AddAttentionAndMlp(layer, hidden, attention.reshape({hidden.size(0), -1}));
  return attention;
}

}  // namespace

void ObserveLayer(const Decoder& decoder, size_t layer, at::Tensor& hidden,
                  std::span<const PrecisionPair> pairs, int64_t exact_queries,
                  LayerObservation& observation) {
  const int64_t tokens = hidden.size(0);
  const QueryKeyValue qkv = decoder.ProjectQueryKeyValue(layer, hidden.unsqueeze(0), {0, tokens});
  LayerObserver observer(decoder, layer, qkv, pairs, observation);
  const ComparedAttention& attention = observer.attention();
  observation.key_bias_norm = decoder.key_bias_norm(layer);
  if (CanCompareByFlash(attention)) {
    const ErrorsWithOutput result = ErrorsByFlash(attention, exact_queries);
    // All work of the layer is under way before the first sum is waited for.
    decoder.AddAttentionAndMlp(layer, hidden, result.exact_output.reshape({tokens, -1}));
    observer.AddCache();
    observer.AddAttention(result.errors, exact_queries, tokens);
    return;
  }
  observer.AddCache();
  const int64_t alignment = attention.alignment();
  for (const QueryBlock& block :
       QueryBlocks(exact_queries / alignment * alignment, tokens, alignment, qkv.rule.window_tokens,
                   decoder.config().query_heads, MaxWeightElements(decoder.options().device()))) {
    // With PrefillMode::kExact the first queries attend exactly, so they show no error and are left
    // out.
    const int64_t skipped = std::max<int64_t>(0, exact_queries - block.begin);
    if (block.begin + skipped >= block.end) continue;
    observer.AddAttention(ErrorsOfBlock(attention, block, skipped), block.begin + skipped,
                          block.end);
  }
  AddExactAttention(decoder, layer, qkv, hidden);
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
