// What the command lines of llama.cpp and ik_llama.cpp have in common.
#pragma once

#include <string_view>

#include "lib/core/precision_plan.h"
#include "lib/targets/engine_settings.h"

namespace kvtune {

// Throws Error where the text switches flash attention off beside values that need it: both engines
// refuse to start with a quantized value cache then (src/llama.cpp and llama-context.cpp).
void RequireFlashAttention(const EngineSettings& settings, const PrecisionPlan& plan);

}  // namespace kvtune
