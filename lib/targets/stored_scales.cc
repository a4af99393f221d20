// Plans and targets under the scales that a checkpoint stores.
#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

// The same format with static scales other than 1; the format itself where there is none.
KvFormatId AsStored(KvFormatId id) {
  const KvFormat& format = FormatOf(id);
  if (format.scale != ScaleKind::kUnit) return id;
  for (const KvFormat& other : Formats()) {
    if (other.scale == ScaleKind::kCalibrated && other.numerics == format.numerics) return other.id;
  }
  return id;
}

PrecisionPair AsStored(PrecisionPair pair, const Target& target) {
  const PrecisionPair stored{AsStored(pair.key), AsStored(pair.value)};
  return target.shape.has(stored) ? stored : pair;
}

}  // namespace

Target WithStoredScales(Target target) {
  const bool has_static = std::ranges::any_of(target.pairs, [](PrecisionPair pair) {
    return FormatOf(pair.key).scale == ScaleKind::kCalibrated ||
           FormatOf(pair.value).scale == ScaleKind::kCalibrated;
  });
  if (!has_static) {
    throw Error(fmt::format("--scales checkpoint: found the target {}, which stores no static "
                            "scales, expected one with FP8 or NVFP4 caches such as vllm",
                            target.name),
                ExitCode::kUsage);
  }
  std::erase_if(target.pairs, [&](PrecisionPair pair) { return AsStored(pair, target) != pair; });
  target.scales = CacheScales::kCheckpoint;
  return target;
}

PrecisionPlan WithScalesOf(const Target& target, PrecisionPlan plan) {
  if (target.scales != CacheScales::kCheckpoint) return plan;
  for (PrecisionPair& pair : plan.layers) pair = AsStored(pair, target);
  return plan;
}

}  // namespace kvtune
