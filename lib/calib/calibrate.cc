#include "lib/calib/calibrate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lib/base/error.h"
#include "lib/base/progress.h"
#include "lib/base/statistics.h"
#include "lib/calib/model_evaluator.h"

namespace kvtune {
namespace {

double Ratio(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : 0;
}

// The errors that one reduction computes from the sums of a head, or from the sums of all heads
// together.
struct Errors {
  double e_k, e_v, e_a, e_o;
};

Errors Reduce(const HeadErrorSums& sums, MetricReduction reduction) {
  // e_a is an absolute difference of probabilities, so it has no denominator and no reduction to
  // choose.
  const double e_a = Ratio(sums.a_error, sums.a_count);
  if (reduction == MetricReduction::kRatioOfSums) {
    return {Ratio(sums.k_error, sums.k_total), Ratio(sums.v_error, sums.v_total), e_a,
            Ratio(sums.o_error, sums.o_total)};
  }
  return {Ratio(sums.k_ratio, sums.k_count), Ratio(sums.v_ratio, sums.v_count), e_a,
          Ratio(sums.o_ratio, sums.o_count)};
}

HeadErrorSums Total(const std::vector<HeadErrorSums>& heads) {
  HeadErrorSums total;
  for (const HeadErrorSums& head : heads) total += head;
  return total;
}

// Returns the mean effective bits of an element of the layer's cache.
double BitsOfPair(PrecisionPair pair, const LayerConfig& layer) {
  const auto key_width = static_cast<double>(layer.kv_width(KvSide::kKey));
  const auto value_width = static_cast<double>(layer.kv_width(KvSide::kValue));
  return (EffectiveBits(FormatOf(pair.key), KvSide::kKey, layer.key_head_dim) * key_width +
          EffectiveBits(FormatOf(pair.value), KvSide::kValue, layer.value_head_dim) * value_width) /
         (key_width + value_width);
}

// Returns one number for each KV head: the median of the relative errors of its channels.
std::vector<double> MedianChannelErrors(const std::vector<double>& error,
                                        const std::vector<double>& total, size_t kv_heads) {
  std::vector<double> medians;
  const size_t channels = error.size() / kv_heads;
  for (size_t head = 0; head < kv_heads; ++head) {
    std::vector<double> ratios;
    for (size_t c = head * channels; c < (head + 1) * channels; ++c) {
      ratios.push_back(Ratio(error[c], total[c]));
    }
    medians.push_back(Quantile(ratios, 0.5));
  }
  return medians;
}

PairErrors MakePairErrors(const PairErrorSums& sums, const std::vector<double>& key_channel_total,
                          PrecisionPair pair, const LayerConfig& layer, MetricReduction reduction) {
  PairErrors errors;
  const Errors all = Reduce(Total(sums.kv_heads), reduction);
  errors.e_k = all.e_k;
  errors.e_v = all.e_v;
  errors.e_a = all.e_a;
  errors.e_o = all.e_o;
  errors.bits = BitsOfPair(pair, layer);
  for (const HeadErrorSums& head : sums.kv_heads) {
    const Errors of_head = Reduce(head, reduction);
    errors.head_e_k.push_back(of_head.e_k);
    errors.head_e_v.push_back(of_head.e_v);
    errors.head_e_o.push_back(of_head.e_o);
  }
  errors.head_e_k_median =
      MedianChannelErrors(sums.key_channel_error, key_channel_total, sums.kv_heads.size());
  return errors;
}

double OutlierRatio(std::vector<double> channel_max) {
  const double largest = *std::max_element(channel_max.begin(), channel_max.end());
  return Ratio(largest, Quantile(channel_max, 0.5));
}

// A NaN compares as neither larger nor smaller than anything, so a layer with one would pass as a
// layer without an error. Sums of element-wise ratios may overflow; they are left to the reduction
// that uses them.
void RequireFiniteSums(const LayerObservation& observation, size_t layer) {
  double all = 0;
  for (const PairErrorSums& pair : observation.pairs) {
    const HeadErrorSums heads = Total(pair.kv_heads);
    all += heads.k_error + heads.k_total + heads.v_error + heads.v_total + heads.o_error +
           heads.o_total + heads.a_error;
    for (const double error : pair.key_channel_error) all += error;
  }
  if (std::isfinite(all)) return;
  throw Error(
      fmt::format("calibrating layer {}: found {} as the sum of its errors, expected a "
                  "finite number",
                  layer, all));
}

// Scores plans that quantize one layer with one pair, layer by layer. The plans of one layer share
// the exact layers before it in the prefix tree.
void AddIsolatedKl(MeasuredModel& model, const PromptSet& prompts, SensitivityTable& table) {
  const size_t layer_count = table.layers.size();
  ModelEvaluator evaluator(model, prompts.prompts);
  Progress progress("isolated KL", static_cast<int64_t>(layer_count), "layers");
  for (size_t layer = 0; layer < layer_count; ++layer) {
    std::vector<PrecisionPlan> plans;
    for (const PrecisionPair pair : table.pairs) {
      plans.push_back(PrecisionPlan::Uniform(kExactPair, layer_count));
      plans.back().layers[layer] = pair;
    }
    const std::vector<PlanScore> scores = evaluator.Evaluate(plans);
    for (size_t i = 0; i < scores.size(); ++i) table.layers[layer].errors[i].kl = scores[i].kl_mean;
    progress.Advance();
  }
  progress.Finish();
}

}  // namespace

double ObservationWork(size_t pair_count) {
  constexpr double kWorkOfPair = 0.6;
  return 1 + kWorkOfPair * static_cast<double>(pair_count);
}

SensitivityTable Calibrate(MeasuredModel& model, const PromptSet& prompts,
                           std::span<const PrecisionPair> pairs, const CalibrateOptions& options) {
  Progress progress("calibrating", static_cast<int64_t>(prompts.prompts.size()), "prompts",
                    ObservationWork(pairs.size()));
  const std::vector<LayerObservation> observations = model.ObserveAttention(
      prompts.prompts, pairs, [&](int64_t count) { progress.Advance(count); });
  progress.Finish();

  SensitivityTable table;
  table.pairs.assign(pairs.begin(), pairs.end());
  for (size_t index = 0; index < observations.size(); ++index) {
    const LayerObservation& observation = observations[index];
    RequireFiniteSums(observation, index);
    LayerSensitivity layer;
    layer.index = index;
    for (size_t i = 0; i < pairs.size(); ++i) {
      layer.errors.push_back(MakePairErrors(observation.pairs[i], observation.key_channel_total,
                                            pairs[i], model.config().layers[index],
                                            options.reduction));
    }
    layer.key_outlier_ratio = OutlierRatio(observation.key_channel_max);
    layer.key_bias_norm = observation.key_bias_norm;
    layer.maxima = observation.maxima;
    for (const double sum : observation.concentration_sum) {
      layer.attention_concentration.push_back(Ratio(sum, observation.concentration_count));
    }
    table.layers.push_back(std::move(layer));
  }
  if (options.screening == ScreeningError::kIsolatedKl) AddIsolatedKl(model, prompts, table);
  return table;
}

}  // namespace kvtune
