#include "lib/targets/llama_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace kvtune {
namespace {

// The words that llama.cpp takes for "off" (common/arg.cpp, is_falsey).
bool SaysOff(std::string_view word) {
  return word == "off" || word == "disabled" || word == "false" || word == "0";
}

[[noreturn]] void FailFor(const EngineSettings& settings, const Setting& setting) {
  settings.Fail(setting, fmt::format("found {}, expected flash attention, without which the engine "
                                     "refuses a quantized value cache",
                                     setting.words.empty() ? "it" : setting.words.front()));
}

}  // namespace

void RequireFlashAttention(const EngineSettings& settings, const PrecisionPlan& plan) {
  const bool needs_it = std::ranges::any_of(
      plan.layers, [](PrecisionPair pair) { return !FormatOf(pair.value).is_exact(); });
  if (!needs_it) return;
  if (const Setting* off = settings.Find({"-no-fa", "--no-flash-attn"})) FailFor(settings, *off);
  // An option overrides its environment variable.
  for (const Setting* setting :
       {settings.Find({"-fa", "--flash-attn"}), settings.Find({"LLAMA_ARG_FLASH_ATTN"}),
        settings.Find({"OLLAMA_FLASH_ATTENTION"})}) {
    if (!setting) continue;
    if (!setting->words.empty() && SaysOff(setting->words.front())) FailFor(settings, *setting);
    return;
  }
}

}  // namespace kvtune
