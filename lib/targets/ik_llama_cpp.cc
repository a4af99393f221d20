// ik_llama.cpp: like llama.cpp, but the first and the last layers of each side may have types of
// their own, and rotation is a switch for each side (common/common.cpp; src/llama.cpp, where the
// cache is built).
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/engine_settings.h"
#include "lib/targets/llama_arguments.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kRotated = {
    KvFormatId::kIkQ8_0Had, KvFormatId::kIkQ6_0Had, KvFormatId::kIkQ5_1Had, KvFormatId::kIkQ5_0Had,
    KvFormatId::kIkQ4_1Had, KvFormatId::kIkQ4_0Had, KvFormatId::kIkIq4NlHad};
constexpr std::array kPlain = {KvFormatId::kIkQ8_0, KvFormatId::kIkQ6_0, KvFormatId::kIkQ5_1,
                               KvFormatId::kIkQ5_0, KvFormatId::kIkQ4_1, KvFormatId::kIkQ4_0,
                               KvFormatId::kIkIq4Nl};
constexpr std::array<const char*, 7> kTypes = {"q8_0", "q6_0", "q5_1",  "q5_0",
                                               "q4_1", "q4_0", "iq4_nl"};
constexpr const char* kExactType = "f16";

// The flags that set one side.
struct Flags {
  KvSide side;
  const char* type;
  const char* full_type;
  const char* first;
  const char* last;
  const char* rotation;
};
constexpr Flags kKeys{KvSide::kKey, "-ctk", "--cache-type-k", "-ctk-first", "-ctk-last", "-khad"};
constexpr Flags kValues{KvSide::kValue, "-ctv",      "--cache-type-v",
                        "-ctv-first",   "-ctv-last", "-vhad"};

std::string TypeOf(KvFormatId id) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kRotated[i] == id || kPlain[i] == id) return kTypes[i];
  }
  return kExactType;
}

std::string WriteSide(const PrecisionPlan& plan, const Flags& flags) {
  const SideRuns runs = *FindRuns(plan, flags.side);
  std::string text = fmt::format("{} {}", flags.type, TypeOf(runs.middle));
  if (runs.first_count > 0)
    text += fmt::format(" {} {},{}", flags.first, TypeOf(runs.first), runs.first_count);
  if (runs.last_count > 0)
    text += fmt::format(" {} {},{}", flags.last, TypeOf(runs.last), runs.last_count);
  if (FormatOf(runs.middle).layout(flags.side).rotation.kind != RotationKind::kNone) {
    text += fmt::format(" {}", flags.rotation);
  }
  return text;
}

std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  return fmt::format("-fa on {} {}\n", WriteSide(plan.plan, kKeys), WriteSide(plan.plan, kValues));
}

bool Recognizes(std::string_view content) {
  const EngineSettings settings(content, "");
  for (const Flags& flags : {kKeys, kValues}) {
    if (settings.Has({flags.type, flags.full_type, flags.first, flags.last, flags.rotation}))
      return true;
  }
  return false;
}

KvFormatId FormatOfType(const EngineSettings& settings, const Setting& setting,
                        const std::string& type, const Flags& flags) {
  if (type == kExactType || type == "bf16" || type == "f32") return KvFormatId::kExact;
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (type == kTypes[i]) return settings.IsOn({flags.rotation}) ? kRotated[i] : kPlain[i];
  }
  settings.Fail(setting,
                fmt::format("found {}, expected one of f16, {}", type, fmt::join(kTypes, ", ")));
}

// A type for some layers at one end, written as "q8_0,2".
struct End {
  KvFormatId format = KvFormatId::kExact;
  size_t count = 0;
};
End EndOf(const EngineSettings& settings, const char* flag, const Flags& flags,
          size_t layer_count) {
  const std::optional<std::string> text = settings.Word({flag});
  if (!text) return {};
  const Setting& setting = *settings.Find({flag});
  const size_t comma = text->find(',');
  const std::string count = comma == std::string::npos ? "" : text->substr(comma + 1);
  if (count.empty() || count.find_first_not_of("0123456789") != std::string::npos ||
      count.size() > 6) {
    settings.Fail(setting, fmt::format("found {}, expected TYPE,LAYERS", *text));
  }
  return {FormatOfType(settings, setting, text->substr(0, comma), flags),
          std::min(static_cast<size_t>(std::stoul(count)), layer_count)};
}

// The formats of one side in every layer, by the engine's own rules: where first and last layers
// overlap, the last type wins, but a last type that equals the middle one changes nothing.
std::vector<KvFormatId> ReadSide(const EngineSettings& settings, const Flags& flags,
                                 size_t layer_count) {
  KvFormatId middle = KvFormatId::kExact;
  if (const std::optional<std::string> type = settings.Word({flags.type, flags.full_type})) {
    middle = FormatOfType(settings, *settings.Find({flags.type, flags.full_type}), *type, flags);
  }
  if (FormatOf(middle).is_exact() && settings.IsOn({flags.rotation})) {
    settings.Fail(
        *settings.Find({flags.rotation}),
        fmt::format("found it with an exact {}, where the engine leaves it out", flags.type));
  }
  const End first = EndOf(settings, flags.first, flags, layer_count),
            last = EndOf(settings, flags.last, flags, layer_count);
  std::vector<KvFormatId> formats(layer_count, middle);
  std::fill_n(formats.begin(), first.count, first.format);
  if (last.format != middle) std::fill_n(formats.rbegin(), last.count, last.format);
  return formats;
}

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  const EngineSettings settings(content, source);
  const std::vector<KvFormatId> keys = ReadSide(settings, kKeys, layer_count);
  const std::vector<KvFormatId> values = ReadSide(settings, kValues, layer_count);
  PrecisionPlan plan;
  for (size_t layer = 0; layer < layer_count; ++layer)
    plan.layers.push_back({keys[layer], values[layer]});
  RequireFlashAttention(settings, plan);
  return plan;
}

std::vector<PrecisionPair> AllowedPairs() {
  std::vector<KvFormatId> formats = {KvFormatId::kExact};
  formats.insert(formats.end(), kRotated.begin(), kRotated.end());
  formats.insert(formats.end(), kPlain.begin(), kPlain.end());
  return AllPairs(formats);
}

// ik_llama.cpp, pull request 875: with Volta or newer GPUs, any quantized type of any common head
// size has a fused kernel.
std::vector<GpuNeed> GpuNeeds() {
  std::vector<GpuNeed> needs;
  for (const auto& formats : {kRotated, kPlain}) {
    for (const KvFormatId id : formats) needs.push_back({id, 70, "no fused kernels before Volta"});
  }
  return needs;
}

}  // namespace

Engine IkLlamaCppEngine() {
  return {
      .target = {.name = "ik_llama.cpp",
                 .description =
                     "ik_llama.cpp: types of their own for the first and last layers; rotated",
                 .shape = {ShapeKind::kRuns, AllowedPairs()},
                 .pairs = AllPairs(kRotated)},
      .exports = {{.summary = {"ik_llama.cpp", "arguments of llama-server"},
                   .words = "-ctk, -ctv and the like",
                   .write = Write,
                   .recognizes = Recognizes,
                   .read = Read}},
      .gpu_needs = GpuNeeds(),
  };
}

}  // namespace kvtune
