// What the command lines of llama.cpp and ik_llama.cpp have in common.
#pragma once

#include <string_view>

#include "lib/core/precision_plan.h"
#include "lib/targets/engine_settings.h"

namespace kvtune {

// Throws Error when the text switches flash attention off and the plan quantizes values, because
// both engines then refuse to start (src/llama.cpp and llama-context.cpp).
void RequireFlashAttention(const EngineSettings& settings, const PrecisionPlan& plan);

}  // namespace kvtune
