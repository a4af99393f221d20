// Calibrated scales of FP8 and NVFP4 caches, from the exact model's keys and values.
#pragma once

#include <span>

#include "lib/core/measured_model.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// Whether any format of the pairs has a calibrated scale.
bool NeedCalibratedScales(std::span<const PrecisionPair> pairs);

// One exact pass over the calibration prompts, after which the model can score such formats.
// Always the calibration prompts, also when others are scored: an engine's scales are fixed before
// it serves.
void CalibrateScales(MeasuredModel& model, std::span<const TokenIds> prompts);

}  // namespace kvtune
