// kvtune targets: which serving engines there are, what they can store and which plans they can
// run.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/base/error.h"
#include "lib/io/model_directory.h"
#include "lib/report/text_table.h"
#include "lib/targets/kernels.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

constexpr int64_t kHeadDim = 128;  // at which effective bits are shown without a model

// A target as it is for the model and the GPU that were asked for.
struct Listed {
  Target target;
  std::string refusal;  // why the model cannot be stored; empty: it can
  std::optional<int> compute_capability;
};

// Of keys, then those of values only.
std::vector<KvFormatId> QuantizedFormats(const Target& target) {
  std::vector<KvFormatId> formats = FormatsOf(target, KvSide::kKey);
  for (const KvFormatId id : FormatsOf(target, KvSide::kValue)) {
    if (std::ranges::count(formats, id) == 0) formats.push_back(id);
  }
  std::erase(formats, KvFormatId::kExact);
  return formats;
}

// nullopt where the target does not store this side so.
std::optional<double> EffectiveBitsIn(const Target& target, KvFormatId id, KvSide side,
                                      int64_t head_dim) {
  if (std::ranges::count(FormatsOf(target, side), id) == 0) return std::nullopt;
  return EffectiveBits(FormatOf(id), side, head_dim);
}

bool Searches(const Target& target, KvFormatId id) {
  return std::ranges::any_of(
      target.pairs, [&](PrecisionPair pair) { return pair.key == id || pair.value == id; });
}

std::string PairLabels(const Target& target) {
  std::string labels;
  for (const PrecisionPair pair : target.pairs) {
    if (!labels.empty()) labels += ' ';
    labels += PairLabel(pair);
  }
  return labels;
}

std::string ExportNames(const Target& target) {
  std::string names;
  for (const ExportSummary& summary : target.exports) {
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", summary.name, summary.description);
  }
  return names;
}

// Why the pairs that default builds have no kernels for are slow; empty where there are none.
std::string DefaultKernelsNote(const Target& target) {
  for (const PrecisionPair pair : target.shape.pairs) {
    if (const auto why = WhyNoDefaultKernel(target, pair)) return *why;
  }
  return "";
}

// "yes", or from which compute capability on.
std::string OnGpu(const Listed& listed, KvFormatId id) {
  return WhyNotOnGpu(listed.target, id, *listed.compute_capability).value_or("yes");
}

std::string FormatTable(const Listed& listed, int64_t key_head_dim, int64_t value_head_dim) {
  const Target& target = listed.target;
  std::vector<Column> columns = {
      {"format", Align::kLeft},           {"bits", Align::kRight},
      {"keys, eff. bits", Align::kRight}, {"values, eff. bits", Align::kRight},
      {"exact tokens", Align::kRight},    {"searched", Align::kLeft}};
  if (listed.compute_capability) {
    columns.push_back({fmt::format("runs on sm_{}", *listed.compute_capability), Align::kLeft});
  }
  TextTable table(std::move(columns));
  const auto text = [](std::optional<double> bits) {
    return bits ? fmt::format("{:.2f}", *bits) : "-";
  };
  for (const KvFormatId id : QuantizedFormats(target)) {
    const KvFormat& format = FormatOf(id);
    std::vector<std::string> row = {
        std::string(format.name),
        fmt::format("{}", format.bits),
        text(EffectiveBitsIn(target, id, KvSide::kKey, key_head_dim)),
        text(EffectiveBitsIn(target, id, KvSide::kValue, value_head_dim)),
        fmt::format("{}", format.residual_window_tokens),
        Searches(target, id) ? "yes" : "no"};
    if (listed.compute_capability) row.push_back(OnGpu(listed, id));
    table.AddRow(std::move(row));
  }
  return table.Render(TerminalWidth());
}

std::string TargetText(const Listed& listed, int64_t key_head_dim, int64_t value_head_dim) {
  const Target& target = listed.target;
  std::string text = fmt::format("{}: {}\n  plans:   {}\n  pairs:   {}\n  exports: {}\n",
                                 target.name, target.description, DescribeShape(target.shape),
                                 PairLabels(target), ExportNames(target));
  if (const std::string note = DefaultKernelsNote(target); !note.empty()) {
    text += fmt::format("  kernels: {}\n", note);
  }
  if (!target.pending.empty()) text += fmt::format("  pending upstream: {}\n", target.pending);
  if (!listed.refusal.empty()) return text + fmt::format("  {}\n", listed.refusal);
  return text + "\n" + FormatTable(listed, key_head_dim, value_head_dim);
}

Json TargetJson(const Listed& listed, int64_t key_head_dim, int64_t value_head_dim) {
  const Target& target = listed.target;
  Json formats = Json::array();
  const auto number = [](std::optional<double> bits) { return bits ? Json(*bits) : Json(nullptr); };
  for (const KvFormatId id : QuantizedFormats(target)) {
    const KvFormat& format = FormatOf(id);
    Json entry = {
        {"name", format.name},
        {"nominal_bits", format.bits},
        {"key_effective_bits", number(EffectiveBitsIn(target, id, KvSide::kKey, key_head_dim))},
        {"value_effective_bits",
         number(EffectiveBitsIn(target, id, KvSide::kValue, value_head_dim))},
        {"residual_window_tokens", format.residual_window_tokens},
        {"searched", Searches(target, id)}};
    if (listed.compute_capability) {
      const auto why = WhyNotOnGpu(target, id, *listed.compute_capability);
      entry["runs_on_gpu"] = !why.has_value();
      entry["gpu_refusal"] = why ? Json(*why) : Json(nullptr);
    }
    formats.push_back(std::move(entry));
  }
  Json slow_pairs = Json::array();
  for (const PrecisionPair pair : target.shape.pairs) {
    if (WhyNoDefaultKernel(target, pair)) slow_pairs.push_back(PairLabel(pair));
  }
  const std::string kernels = DefaultKernelsNote(target);
  Json pairs = Json::array();
  for (const PrecisionPair pair : target.pairs) pairs.push_back(PairLabel(pair));
  Json exports = Json::array();
  for (const ExportSummary& summary : target.exports) {
    exports.push_back({{"name", summary.name}, {"description", summary.description}});
  }
  return {{"name", target.name},
          {"description", target.description},
          {"shape", DescribeShape(target.shape)},
          {"exports", ExportNames(target)},
          {"export_formats", std::move(exports)},
          {"pending", target.pending.empty() ? Json(nullptr) : Json(target.pending)},
          {"refusal", listed.refusal.empty() ? Json(nullptr) : Json(listed.refusal)},
          {"kernels", kernels.empty() ? Json(nullptr) : Json(kernels)},
          {"pairs_without_default_kernels", std::move(slow_pairs)},
          {"head_dim", key_head_dim},
          {"pairs", std::move(pairs)},
          {"formats", std::move(formats)}};
}

Listed ListedFor(const Target& target, const std::optional<ModelConfig>& model,
                 std::optional<int> compute_capability) {
  if (!model) return {target, "", compute_capability};
  try {
    return {TargetFor(target, *model), "", compute_capability};
  } catch (const Error& error) {
    return {target, error.what(), compute_capability};
  }
}

}  // namespace

ExitCode RunTargets(const TargetsArguments& arguments, const Invocation& invocation) {
  const std::span<const Target> targets =
      arguments.name.empty() ? Targets() : std::span(&FindTarget(arguments.name), 1);
  std::optional<ModelConfig> model;
  if (!arguments.model.empty()) model = ReadConfigOf(arguments.model);
  std::optional<int> gpu;
  if (!arguments.gpu.empty()) gpu = ComputeCapabilityOf(arguments.gpu);
  const int64_t key_head_dim = model ? model->layers.front().key_head_dim : kHeadDim;
  const int64_t value_head_dim = model ? model->layers.front().value_head_dim : kHeadDim;
  if (invocation.format == OutputFormat::kJson) {
    Json document = NewDocument();
    document["targets"] = Json::array();
    for (const Target& target : targets) {
      document["targets"].push_back(
          TargetJson(ListedFor(target, model, gpu), key_head_dim, value_head_dim));
    }
    PrintJson(document);
    return ExitCode::kOk;
  }
  std::string text;
  for (const Target& target : targets) {
    text += (text.empty() ? "" : "\n") +
            TargetText(ListedFor(target, model, gpu), key_head_dim, value_head_dim);
  }
  PrintText(text + fmt::format("\nEffective bits count scales and zeros, at a head_dim of {}.\n",
                               key_head_dim));
  return ExitCode::kOk;
}

}  // namespace kvtune
