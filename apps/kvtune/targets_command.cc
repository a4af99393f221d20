// kvtune targets: which serving engines there are and what they can store.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/report/text_table.h"
#include "lib/targets/engine.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

constexpr int64_t kHeadDim = 128;  // at which effective bits are shown

std::string PairLabels(const Target& target) {
  std::string labels;
  for (const PrecisionPair pair : target.pairs) {
    if (!labels.empty()) labels += ' ';
    labels += PairLabel(pair);
  }
  return labels;
}

std::string FormatTable(const Target& target) {
  TextTable table({{"format", Align::kLeft},
                   {"bits", Align::kRight},
                   {"keys, eff. bits", Align::kRight},
                   {"values, eff. bits", Align::kRight},
                   {"exact tokens", Align::kRight}});
  for (const KvFormatId id : FormatsOf(target, KvSide::kKey)) {
    const KvFormat& format = FormatOf(id);
    table.AddRow({std::string(format.name), fmt::format("{}", format.bits),
                  fmt::format("{:.2f}", EffectiveBits(format, KvSide::kKey, kHeadDim)),
                  fmt::format("{:.2f}", EffectiveBits(format, KvSide::kValue, kHeadDim)),
                  fmt::format("{}", format.residual_window_tokens)});
  }
  return table.Render(TerminalWidth());
}

std::string TargetText(const Target& target) {
  return fmt::format("{}: {}\n  plans:   {}\n  pairs:   {}\n  exports: {}\n\n{}", target.name,
                     target.description, target.shape, PairLabels(target), target.exports,
                     FormatTable(target));
}

Json TargetJson(const Target& target) {
  Json formats = Json::array();
  for (const KvFormatId id : FormatsOf(target, KvSide::kKey)) {
    const KvFormat& format = FormatOf(id);
    formats.push_back(
        {{"name", format.name},
         {"nominal_bits", format.bits},
         {"key_effective_bits", EffectiveBits(format, KvSide::kKey, kHeadDim)},
         {"value_effective_bits", EffectiveBits(format, KvSide::kValue, kHeadDim)},
         {"residual_window_tokens", format.residual_window_tokens}});
  }
  Json pairs = Json::array();
  for (const PrecisionPair pair : target.pairs) pairs.push_back(PairLabel(pair));
  return {{"name", target.name},     {"description", target.description},
          {"shape", target.shape},   {"exports", target.exports},
          {"head_dim", kHeadDim},    {"pairs", std::move(pairs)},
          {"formats", std::move(formats)}};
}

}  // namespace

ExitCode RunTargets(const TargetsArguments& arguments, const Invocation& invocation) {
  const std::span<const Target> targets =
      arguments.name.empty() ? Targets() : std::span(&FindTarget(arguments.name), 1);
  if (invocation.format == OutputFormat::kJson) {
    Json document = NewDocument();
    document["targets"] = Json::array();
    for (const Target& target : targets) document["targets"].push_back(TargetJson(target));
    PrintJson(document);
    return ExitCode::kOk;
  }
  std::string text;
  for (const Target& target : targets) text += (text.empty() ? "" : "\n") + TargetText(target);
  PrintText(text + fmt::format("\nEffective bits count scales and zeros, at a head_dim of {}.\n",
                               kHeadDim));
  return ExitCode::kOk;
}

}  // namespace kvtune
