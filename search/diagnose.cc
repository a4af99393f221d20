#include "search/diagnose.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <span>
#include <vector>

namespace kvtune {
namespace {

// An isolated e_o above which a key format counts as too coarse for a layer. Trained models lose
// nothing that can be measured at 0.1 and fail at 0.3 and more. This is a rule of thumb; only a
// joint score says what a plan loses.
constexpr double kSafeOutputError = 0.25;
// A layer stands out when its logarithm is this many robust standard deviations above the median
// (Iglewicz and Hoaglin 1993 for 3.5) and the value itself is at least this many times the median.
// The second condition is needed because layers that are nearly alike have next to no spread, and a
// difference of a few per cent explains nothing.
constexpr double kOutlyingDeviations = 3.5;
constexpr double kOutlyingFactor = 2;
// The factor for the attention output's error. It is larger, because this error depends on how a
// layer attends and so differs more between layers.
constexpr double kOutlyingOutputFactor = 3;
// The ratio of standard deviation to median absolute deviation in a normal distribution.
constexpr double kDeviationOfMad = 1.4826;
constexpr double kSmallest = 1e-12;  // stands for 0 in a logarithm

// The median, and of two middle values the lower one: when half of the layers are fragile, that one
// still belongs to an ordinary layer.
double LowerMedian(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The value above which one of `values` stands out.
double OutlierThreshold(const std::vector<double>& values, double factor) {
  std::vector<double> logarithms;
  for (const double value : values) logarithms.push_back(std::log(std::max(value, kSmallest)));
  const double median = LowerMedian(logarithms);
  std::vector<double> deviations;
  for (const double logarithm : logarithms) deviations.push_back(std::abs(logarithm - median));
  const double spread = kDeviationOfMad * LowerMedian(deviations);
  return std::exp(median + std::max(std::log(factor), kOutlyingDeviations * spread));
}

// The value of the worst head, or that of the whole layer where the table was measured without
// heads.
double Worst(const std::vector<double>& heads, double layer) {
  return heads.empty() ? layer : *std::max_element(heads.begin(), heads.end());
}

// A key format of the table, measured together with the most accurate value format that the table
// pairs it with, so that errors of values disturb least.
struct KeyFormat {
  KvFormatId id = KvFormatId::kExact;
  double bits = 0;
  std::vector<KeyMeasurements> layers;
};

std::vector<double> Column(const std::vector<KeyMeasurements>& layers,
                           double KeyMeasurements::*field) {
  std::vector<double> column;
  for (const KeyMeasurements& layer : layers) column.push_back(layer.*field);
  return column;
}

double MeanValueError(const SensitivityTable& table, size_t pair) {
  double sum = 0;
  for (const LayerSensitivity& layer : table.layers) sum += layer.errors[pair].e_v;
  return sum;
}

KeyMeasurements Measure(const LayerSensitivity& layer, size_t pair) {
  const PairErrors& errors = layer.errors[pair];
  return {.output_error = Worst(errors.head_e_o, errors.e_o),
          .key_error = Worst(errors.head_e_k_median, errors.e_k),
          .key_outlier_ratio = layer.key_outlier_ratio,
          .key_bias_norm = layer.key_bias_norm};
}

// The quantized key formats of the table, fewest bits first.
std::vector<KeyFormat> KeyFormats(const SensitivityTable& table) {
  std::map<KvFormatId, size_t> best_pair;
  for (size_t i = 0; i < table.pairs.size(); ++i) {
    const KvFormatId key = table.pairs[i].key;
    if (FormatOf(key).is_exact()) continue;
    const auto [place, is_new] = best_pair.emplace(key, i);
    if (!is_new && MeanValueError(table, i) < MeanValueError(table, place->second)) {
      place->second = i;
    }
  }
  std::vector<KeyFormat> formats;
  for (const auto& [id, pair] : best_pair) {
    KeyFormat format{
        id, EffectiveBits(FormatOf(id), KvSide::kKey, table.run.layers.front().key_head_dim), {}};
    for (const LayerSensitivity& layer : table.layers) {
      format.layers.push_back(Measure(layer, pair));
    }
    formats.push_back(std::move(format));
  }
  std::stable_sort(formats.begin(), formats.end(),
                   [](const KeyFormat& a, const KeyFormat& b) { return a.bits < b.bits; });
  return formats;
}

double TypicalOutputError(const KeyFormat& format) {
  return LowerMedian(Column(format.layers, &KeyMeasurements::output_error));
}

// The index of the cheapest format that the typical layer bears; if it bears none, of the one with
// the smallest error.
size_t SafeFormat(const std::vector<KeyFormat>& formats) {
  size_t best = 0;
  for (size_t i = 0; i < formats.size(); ++i) {
    if (TypicalOutputError(formats[i]) <= kSafeOutputError) return i;
    if (TypicalOutputError(formats[i]) < TypicalOutputError(formats[best])) best = i;
  }
  return best;
}

// Returns for every layer whether it stands out in `values`.
std::vector<bool> Outliers(const std::vector<double>& values, double factor) {
  const double threshold = OutlierThreshold(values, factor);
  std::vector<bool> outliers;
  for (const double value : values) outliers.push_back(value > threshold);
  return outliers;
}

// What stands out in every layer.
std::vector<std::vector<FragilityCause>> Causes(std::span<const KeyFormat> from_safe) {
  const std::vector<KeyMeasurements>& at_safe = from_safe.front().layers;
  std::vector<bool> key_error(at_safe.size());
  // At few bits every layer may lose its small channels, so that all errors are alike; then a finer
  // format shows which layers stand out.
  for (const KeyFormat& format : from_safe) {
    const auto here = Outliers(Column(format.layers, &KeyMeasurements::key_error), kOutlyingFactor);
    std::transform(here.begin(), here.end(), key_error.begin(), key_error.begin(),
                   std::logical_or<>());
  }
  const auto output_error =
      Outliers(Column(at_safe, &KeyMeasurements::output_error), kOutlyingOutputFactor);
  const auto outliers =
      Outliers(Column(at_safe, &KeyMeasurements::key_outlier_ratio), kOutlyingFactor);
  const auto bias = Outliers(Column(at_safe, &KeyMeasurements::key_bias_norm), kOutlyingFactor);
  std::vector<std::vector<FragilityCause>> causes(at_safe.size());
  for (size_t layer = 0; layer < at_safe.size(); ++layer) {
    // Large channels or biases do no harm by themselves, since per-channel scales and
    // floating-point formats can represent them. They are named only as the explanation of an
    // error.
    if (!key_error[layer] && !output_error[layer]) continue;
    if (key_error[layer]) causes[layer].push_back(FragilityCause::kKeyError);
    if (output_error[layer]) causes[layer].push_back(FragilityCause::kOutputError);
    if (outliers[layer]) causes[layer].push_back(FragilityCause::kKeyOutliers);
    if (bias[layer]) causes[layer].push_back(FragilityCause::kKeyBias);
  }
  return causes;
}

KvFormatId NeededKey(std::span<const KeyFormat> from_safe, size_t layer, double bearable) {
  for (const KeyFormat& format : from_safe) {
    if (format.layers[layer].output_error <= bearable) return format.id;
  }
  return KvFormatId::kExact;
}

}  // namespace

Diagnosis Diagnose(const SensitivityTable& table) {
  Diagnosis diagnosis;
  diagnosis.run = table.run;
  const std::vector<KeyFormat> formats = KeyFormats(table);
  if (formats.empty()) return diagnosis;
  const auto from_safe = std::span(formats).subspan(SafeFormat(formats));
  const std::vector<KeyMeasurements>& at_safe = from_safe.front().layers;
  const auto causes = Causes(from_safe);

  double bearable = 0;
  for (size_t layer = 0; layer < at_safe.size(); ++layer) {
    if (causes[layer].empty()) bearable = std::max(bearable, at_safe[layer].output_error);
  }
  std::vector<KeyMeasurements> ordinary;
  for (size_t layer = 0; layer < at_safe.size(); ++layer) {
    // A layer that stands out and yet loses no more than the ordinary layers needs no more bits.
    if (causes[layer].empty() || at_safe[layer].output_error <= bearable) {
      ordinary.push_back(at_safe[layer]);
      continue;
    }
    diagnosis.fragile.push_back({.index = table.layers[layer].index,
                                 .needed_key = NeededKey(from_safe, layer, bearable),
                                 .measured = at_safe[layer],
                                 .causes = causes[layer]});
  }
  diagnosis.safe_key = from_safe.front().id;
  diagnosis.is_safe = bearable <= kSafeOutputError;
  diagnosis.ordinary_output_error = bearable;
  for (const auto field : {&KeyMeasurements::output_error, &KeyMeasurements::key_error,
                           &KeyMeasurements::key_outlier_ratio, &KeyMeasurements::key_bias_norm}) {
    diagnosis.ordinary_median.*field = LowerMedian(Column(ordinary, field));
  }
  return diagnosis;
}

}  // namespace kvtune
