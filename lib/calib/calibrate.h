// The calibrate stage: sensitivity of every layer to every precision pair.
#pragma once

#include <span>

#include "lib/calib/prompt_set.h"
#include "lib/core/plan_evaluator.h"
#include "lib/core/sensitivity.h"
#include "lib/runner/model_runner.h"

namespace kvtune {

// Ratio of sums is what the paper's published figures fit; element-wise ratios explode near zero.
enum class MetricReduction { kRatioOfSums, kMeanOfRatios };

struct CalibrateOptions {
  MetricReduction reduction = MetricReduction::kRatioOfSums;
  // Also the isolated forward KL of the logits with only one layer quantized.
  bool isolated_kl = false;
};

// One exact pass over the prompts. The table's `run` is left for the caller to fill.
SensitivityTable Calibrate(ModelRunner& runner, const PromptSet& prompts,
                           std::span<const PrecisionPair> pairs, const CalibrateOptions& options);

}  // namespace kvtune
