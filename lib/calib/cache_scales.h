// Static scales of FP8 and NVFP4 caches: computed from the exact model's keys and values, or those
// that the checkpoint stores.
#pragma once

#include <span>

#include "lib/core/measured_model.h"
#include "lib/core/precision_plan.h"
#include "lib/io/checkpoint.h"

namespace kvtune {

// Whether any format of the pairs has a calibrated scale.
bool NeedCalibratedScales(std::span<const PrecisionPair> pairs);

// Runs the exact model over the calibration prompts once, after which the model can score formats
// with calibrated scales. `prompts` are always the calibration prompts, even when other prompts are
// scored afterwards, because an engine's scales are fixed before it serves.
void CalibrateScales(MeasuredModel& model, std::span<const TokenIds> prompts);

// Has the model score formats with the scales that its checkpoint stores, which is what an engine
// uses. Throws Error naming the layers without scales.
void UseStoredScales(MeasuredModel& model, const Checkpoint& checkpoint);

}  // namespace kvtune
