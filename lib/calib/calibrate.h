// The calibrate stage: sensitivity of every layer to every precision pair.
#pragma once

#include <span>

#include "lib/base/words.h"
#include "lib/calib/prompt_set.h"
#include "lib/core/measured_model.h"
#include "lib/core/sensitivity.h"

namespace kvtune {

// Ratio of sums is what the paper's published figures fit; element-wise ratios explode near zero.
enum class MetricReduction { kRatioOfSums, kMeanOfRatios };
inline constexpr Word<MetricReduction> kMetricReductionWords[] = {
    {"ratio-of-sums", MetricReduction::kRatioOfSums},
    {"mean-of-ratios", MetricReduction::kMeanOfRatios}};

struct CalibrateOptions {
  MetricReduction reduction = MetricReduction::kRatioOfSums;
  // With kIsolatedKl the forward KL of the logits with only one layer quantized is measured too,
  // which takes a pass for every layer and pair.
  ScreeningError screening = ScreeningError::kAttentionOutput;
};

// One exact pass over the prompts. The table's `run` is left for the caller to fill. Throws Error
// also for a layer whose errors are not finite numbers.
SensitivityTable Calibrate(MeasuredModel& model, const PromptSet& prompts,
                           std::span<const PrecisionPair> pairs, const CalibrateOptions& options);

}  // namespace kvtune
