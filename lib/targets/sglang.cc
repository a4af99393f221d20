// SGLang: all layers take one type (--kv-cache-dtype).
#include <fmt/format.h>

#include "lib/targets/engine.h"
#include "lib/targets/engine_settings.h"
#include "lib/targets/plan_text.h"
#include "lib/targets/sglang_dtypes.h"

namespace kvtune {
namespace {

constexpr const char* kFlag = "--kv-cache-dtype";

std::string WriteCommandLine(const ScoredPlan& plan, const Provenance&, const Target&) {
  const KvFormatId format = plan.plan.layers.front().key;
  return fmt::format("{} {}\n", kFlag, WordOf(kSglangWords, format));
}

bool IsCommandLine(std::string_view content) { return EngineSettings(content, "").Has({kFlag}); }

PrecisionPlan ReadCommandLine(std::string_view content, const std::string& source,
                              size_t layer_count, const Target&) {
  const std::string dtype = *EngineSettings(content, source).Word({kFlag});
  const KvFormatId format = FormatOfSglangWord(dtype, fmt::format("{}: {}", source, kFlag));
  return PrecisionPlan::Uniform({format, format}, layer_count);
}

}  // namespace

Engine SglangEngine() {
  return {
      .target = {.name = "sglang",
                 .description = "SGLang: one type for all layers",
                 .shape = {ShapeKind::kOnePair, AndExact(TiedPairs(kSglangFormats))},
                 .pairs = TiedPairs(kSglangFormats)},
      .exports = {{.summary = {"sglang", "arguments of sglang.launch_server"},
                   .words = "--kv-cache-dtype, kv_cache_dtype",
                   .write = WriteCommandLine,
                   .recognizes = IsCommandLine,
                   .read = ReadCommandLine}},
  };
}

}  // namespace kvtune
