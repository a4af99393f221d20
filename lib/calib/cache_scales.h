// Calibrated scales of FP8 and NVFP4 caches, computed from the exact model's keys and values.
#pragma once

#include <span>

#include "lib/core/measured_model.h"
#include "lib/core/precision_plan.h"

namespace kvtune {

// Whether any format of the pairs has a calibrated scale.
bool NeedCalibratedScales(std::span<const PrecisionPair> pairs);

// Runs the exact model over the calibration prompts once, after which the model can score formats
// with calibrated scales. `prompts` are always the calibration prompts, even when other prompts are
// scored afterwards, because an engine's scales are fixed before it serves.
void CalibrateScales(MeasuredModel& model, std::span<const TokenIds> prompts);

}  // namespace kvtune
