#include "lib/runner/observe.h"

#include <algorithm>
#include <map>

#include "lib/runner/attention.h"
#include "lib/runner/cuda_kernels.h"

namespace kvtune {
namespace {

// Returns one number for each KV head, or for each channel of all KV heads, as float64 on the CPU.
std::vector<double> PerHead(const at::Tensor& sums) {
  const at::Tensor values = sums.to(at::kDouble).cpu().contiguous();
  return {values.const_data_ptr<double>(), values.const_data_ptr<double>() + values.numel()};
}

struct HeadSums {
  std::vector<double> error, total, ratio, ratio_count;
};

// Returns the sums of |x - x^|, |x| and |x - x^| / |x| over all dimensions but the first.
// x: [kv_heads, ...].
HeadSums CompareHeads(const at::Tensor& x, const at::Tensor& approximation) {
  if (UsesCudaKernels(x)) {
    const at::Tensor sums = CudaErrorSumsOf(x, approximation).t().cpu();
    return {PerHead(sums[0]), PerHead(sums[1]), PerHead(sums[2]), PerHead(sums[3])};
  }
  const at::Tensor wide = x.to(at::kFloat).flatten(1);
  const at::Tensor magnitude = at::abs(wide);
  const at::Tensor error = at::abs(wide - approximation.to(at::kFloat).flatten(1));
  const at::Tensor counted = magnitude > 0;
  const at::Tensor ratio = at::where(counted, error / magnitude, at::zeros({}, error.options()));
  return {PerHead(error.sum(1, false, at::kDouble)), PerHead(magnitude.sum(1, false, at::kDouble)),
          PerHead(ratio.sum(1, false, at::kDouble)), PerHead(counted.sum(1))};
}

// Returns the sum of |x - x^| over all dimensions but the first. x: [kv_heads, ...].
std::vector<double> SumOfDistances(const at::Tensor& x, const at::Tensor& approximation) {
  if (UsesCudaKernels(x)) return CompareHeads(x, approximation).error;
  return PerHead(at::abs(x - approximation).flatten(1).sum(1, false, at::kDouble));
}

void AddTo(std::vector<double>& total, const std::vector<double>& part) {
  for (size_t i = 0; i < total.size(); ++i) total[i] += part[i];
}

// Returns sum |x| over the tokens, for each channel.
// x: [kv_heads, tokens, head_dim] -> [kv_heads * head_dim]
std::vector<double> PerChannel(const at::Tensor& x) {
  return PerHead(at::abs(x.to(at::kFloat)).sum(1, false, at::kDouble).flatten());
}

// Groups the query heads by the KV head that they share:
// [batch=1, query_heads, rows, n] -> [kv_heads, ...].
at::Tensor ByKvHead(const at::Tensor& x, int64_t kv_heads) {
  return x.squeeze(0).unflatten(0, {kv_heads, x.size(1) / kv_heads});
}

// Observes one layer on one prompt.
class LayerObserver {
 public:
  // REQUIRES: qkv holds one sequence.
  LayerObserver(const Decoder& decoder, size_t layer, const QueryKeyValue& qkv,
                std::span<const PrecisionPair> pairs, LayerObservation& observation)
      : query_(qkv.query),
        rule_(qkv.rule),
        exact_key_(ExactCacheSide(qkv.key)),
        exact_value_(ExactCacheSide(qkv.value)),
        observation_(observation) {
    for (size_t i = 0; i < pairs.size(); ++i) {
      if (!keys_.contains(pairs[i].key)) {
        keys_[pairs[i].key] = MakeCacheSide(qkv.key, FormatOf(pairs[i].key),
                                            decoder.SideOfLayer(layer, KvSide::kKey));
      }
      if (!values_.contains(pairs[i].value)) {
        values_[pairs[i].value] = MakeCacheSide(qkv.value, FormatOf(pairs[i].value),
                                                decoder.SideOfLayer(layer, KvSide::kValue));
      }
      pairs_of_key_[pairs[i].key].push_back({i, pairs[i].value});
    }
  }

  int64_t alignment() const {
    int64_t alignment = 1;
    for (const auto& [id, side] : keys_) alignment = std::max(alignment, side.window_tokens);
    for (const auto& [id, side] : values_) alignment = std::max(alignment, side.window_tokens);
    return alignment;
  }

  void ObserveCache() {
    std::map<KvFormatId, HeadSums> key_sums, value_sums;
    for (const auto& [id, side] : keys_) {
      key_sums[id] = CompareHeads(exact_key_.exact.squeeze(0), side.stored.squeeze(0));
    }
    for (const auto& [id, side] : values_) {
      value_sums[id] = CompareHeads(exact_value_.exact.squeeze(0), side.stored.squeeze(0));
    }
    for (const auto& [key, pairs] : pairs_of_key_) {
      const std::vector<double> channel_error =
          PerChannel((exact_key_.exact.to(at::kFloat) - keys_.at(key).stored).squeeze(0));
      for (const auto& [index, value] : pairs) {
        AddTo(observation_.pairs[index].key_channel_error, channel_error);
        auto& heads = observation_.pairs[index].kv_heads;
        for (size_t h = 0; h < heads.size(); ++h) {
          const HeadSums& k = key_sums[key];
          const HeadSums& v = value_sums[value];
          heads[h].k_error += k.error[h];
          heads[h].k_total += k.total[h];
          heads[h].k_ratio += k.ratio[h];
          heads[h].k_count += k.ratio_count[h];
          heads[h].v_error += v.error[h];
          heads[h].v_total += v.total[h];
          heads[h].v_ratio += v.ratio[h];
          heads[h].v_count += v.ratio_count[h];
        }
      }
    }
    AddTo(observation_.key_channel_total, PerChannel(exact_key_.exact.squeeze(0)));
    // [1, kv_heads, tokens, head_dim] -> [kv_heads * head_dim]
    const std::vector<double> channel_max = PerHead(at::abs(exact_key_.exact).amax(2).flatten());
    auto& maxima = observation_.key_channel_max;
    for (size_t c = 0; c < maxima.size(); ++c) maxima[c] = std::max(maxima[c], channel_max[c]);
    KeepLarger(exact_key_.exact, observation_.maxima.key);
    KeepLarger(exact_value_.exact, observation_.maxima.value);
  }

  // With PrefillMode::kExact the queries before `first_counted` attend exactly, so they show no
  // error and are left out.
  void ObserveBlock(const QueryBlock& block, int64_t first_counted) {
    const int64_t skipped = std::max<int64_t>(0, first_counted - block.begin);
    const int64_t rows = block.end - block.begin - skipped;
    if (rows <= 0) return;
    const auto counted = [&](const at::Tensor& x) { return x.narrow(2, skipped, rows); };
    const int64_t kv_heads = exact_key_.exact.size(1);
    const at::Tensor weights = AttentionWeights(query_, exact_key_, block, rule_);
    const at::Tensor output =
        ByKvHead(counted(AttentionOutput(weights, exact_value_, block)), kv_heads);
    ObserveConcentration(counted(weights));
    const int64_t queries_of_a_head = query_.size(1) / kv_heads;
    const double visible = static_cast<double>(queries_of_a_head) *
                           static_cast<double>(VisiblePairs(block.begin + skipped, block.end));
    for (const auto& [key, pairs] : pairs_of_key_) {
      const at::Tensor quantized_weights = AttentionWeights(query_, keys_.at(key), block, rule_);
      const std::vector<double> weight_error = SumOfDistances(
          ByKvHead(counted(weights), kv_heads), ByKvHead(counted(quantized_weights), kv_heads));
      for (const auto& [index, value] : pairs) {
        const at::Tensor quantized_output = ByKvHead(
            counted(AttentionOutput(quantized_weights, values_.at(value), block)), kv_heads);
        const HeadSums o = CompareHeads(output, quantized_output);
        auto& heads = observation_.pairs[index].kv_heads;
        for (size_t h = 0; h < heads.size(); ++h) {
          heads[h].a_error += weight_error[h];
          heads[h].a_count += visible;
          heads[h].o_error += o.error[h];
          heads[h].o_total += o.total[h];
          heads[h].o_ratio += o.ratio[h];
          heads[h].o_count += o.ratio_count[h];
        }
      }
    }
  }

 private:
  // x: [1, kv_heads, tokens, head_dim]
  static void KeepLarger(const at::Tensor& x, std::vector<float>& head_maxima) {
    const std::vector<double> largest = PerHead(at::abs(x.squeeze(0)).flatten(1).amax(1));
    for (size_t h = 0; h < largest.size(); ++h)
      head_maxima[h] = std::max(head_maxima[h], static_cast<float>(largest[h]));
  }

  // Returns how many (query, key) pairs of one head the queries [begin, end) see.
  int64_t VisiblePairs(int64_t begin, int64_t end) const {
    int64_t pairs = 0;
    for (int64_t query = begin; query < end; ++query) {
      pairs += rule_.window_tokens > 0 ? std::min(query + 1, rule_.window_tokens) : query + 1;
    }
    return pairs;
  }

  // weights: [1, query_heads, rows, keys]
  void ObserveConcentration(const at::Tensor& weights) {
    const std::vector<double> largest =
        PerHead(weights.amax(-1).sum(-1, false, at::kDouble).squeeze(0));
    for (size_t h = 0; h < largest.size(); ++h) observation_.concentration_sum[h] += largest[h];
    observation_.concentration_count += static_cast<double>(weights.size(2));
  }

  struct ValueOfPair {
    size_t index;  // index into the pairs
    KvFormatId value;
  };

  at::Tensor query_;
  ScoreRule rule_;
  CacheSide exact_key_;
  CacheSide exact_value_;
  LayerObservation& observation_;
  std::map<KvFormatId, CacheSide> keys_;
  std::map<KvFormatId, CacheSide> values_;
  std::map<KvFormatId, std::vector<ValueOfPair>> pairs_of_key_;
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
  const ModelConfig& config = decoder.config();
  const int64_t tokens = hidden.size(0);
  const int64_t max_elements = MaxWeightElements(decoder.options().device());
  const QueryKeyValue qkv = decoder.ProjectQueryKeyValue(layer, hidden.unsqueeze(0), {0, tokens});
  LayerObserver observer(decoder, layer, qkv, pairs, observation);
  observer.ObserveCache();
  const int64_t alignment = observer.alignment();
  for (const QueryBlock& block :
       QueryBlocks(exact_queries / alignment * alignment, tokens, alignment, qkv.rule.window_tokens,
                   config.query_heads, max_elements)) {
    observer.ObserveBlock(block, exact_queries);
  }
  observation.key_bias_norm = decoder.key_bias_norm(layer);
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
