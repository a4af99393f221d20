// The calibrate stage, which measures the sensitivity of every layer to every precision pair.
#pragma once

#include <span>

#include "lib/base/words.h"
#include "lib/calib/prompt_set.h"
#include "lib/core/measured_model.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// How element-wise errors become one number. The ratio of sums is what fits the figures that the
// paper published; element-wise ratios explode near zero.
enum class MetricReduction { kRatioOfSums, kMeanOfRatios };
inline constexpr Word<MetricReduction> kMetricReductionWords[] = {
    {"ratio-of-sums", MetricReduction::kRatioOfSums},
    {"mean-of-ratios", MetricReduction::kMeanOfRatios}};

struct CalibrateOptions {
  MetricReduction reduction = MetricReduction::kRatioOfSums;
  // With kIsolatedKl, calibrate also measures the forward KL of the logits with only one layer
  // quantized, which takes a pass for every layer and pair.
  ScreeningError screening = ScreeningError::kAttentionOutput;
};

// The work of observing one prompt under so many pairs, where scoring one plan on it is 1. A pair
// costs less than a plan, because nothing but attention is computed for it.
double ObservationWork(size_t pair_count);

// Makes one exact pass over the prompts. The caller has to fill in the `run` of the table. Throws
// Error, also for a layer whose errors are not finite numbers.
SensitivityTable Calibrate(MeasuredModel& model, const PromptSet& prompts,
                           std::span<const PrecisionPair> pairs, const CalibrateOptions& options);

}  // namespace kvtune
