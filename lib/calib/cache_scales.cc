#include "lib/calib/cache_scales.h"

#include <algorithm>

#include "lib/base/progress.h"
#include "lib/io/stored_scales.h"

namespace kvtune {

bool NeedCalibratedScales(std::span<const PrecisionPair> pairs) {
  return std::any_of(pairs.begin(), pairs.end(), [](PrecisionPair pair) {
    return FormatOf(pair.key).scale == ScaleKind::kCalibrated ||
           FormatOf(pair.value).scale == ScaleKind::kCalibrated;
  });
}

void CalibrateScales(MeasuredModel& model, std::span<const TokenIds> prompts) {
  Progress progress("calibrating scales", static_cast<int64_t>(prompts.size()), "prompts");
  std::vector<LayerMaxima> maxima;
  for (LayerObservation& layer :
       model.ObserveAttention(prompts, {}, [&](int64_t count) { progress.Advance(count); })) {
    maxima.push_back(std::move(layer.maxima));
  }
  progress.Finish();
  model.SetCacheMaxima(std::move(maxima));
}

void UseStoredScales(MeasuredModel& model, const Checkpoint& checkpoint) {
  model.SetCacheMaxima(ReadStoredScales(checkpoint));
}

}  // namespace kvtune
