#include "lib/run/run_prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lib/base/error.h"
#include "lib/base/log.h"

namespace kvtune {
namespace {

constexpr size_t kFewestPromptsToSplit = 8;
constexpr size_t kHeldOutShare = 4;  // one in so many

// The run's limits hold for either set.
PromptSet Load(const RunInputs& inputs, const ModelConfig& config,
               std::vector<std::filesystem::path> files, BundledSet bundled) {
  PromptOptions options = inputs.prompts;
  options.files = std::move(files);
  return LoadPromptSet(options, bundled, inputs.seed, inputs.model, config);
}

// Moves the last quarter of the prompts, which come shuffled, to the held-out ones.
void SplitOff(RunPrompts& prompts) {
  std::vector<TokenIds>& all = prompts.calibration.prompts;
  const auto first = all.end() - static_cast<ptrdiff_t>(all.size() / kHeldOutShare);
  prompts.held_out.assign(std::make_move_iterator(first), std::make_move_iterator(all.end()));
  all.erase(first, all.end());
  CountAndHash(prompts.calibration);
  const std::set<TokenIds> kept(all.begin(), all.end());
  const auto repeated =
      std::erase_if(prompts.held_out, [&](const TokenIds& ids) { return kept.contains(ids); });
  if (repeated == 0) return;
  LogWarning(
      fmt::format("{} held-out prompts are left out, because the file holds them once more "
                  "and the search uses them",
                  repeated));
  if (prompts.held_out.empty()) prompts.held_out_source = "none";
}

void RequireDisjoint(const RunPrompts& prompts) {
  const std::set<TokenIds> held_out(prompts.held_out.begin(), prompts.held_out.end());
  const auto shared = std::ranges::count_if(
      prompts.calibration.prompts, [&](const TokenIds& ids) { return held_out.contains(ids); });
  if (shared > 0) {
    throw Error(
        fmt::format("choosing held-out prompts ({}): found {} of the {} calibration "
                    "prompts among them, expected none",
                    prompts.held_out_source, shared, prompts.calibration.prompts.size()));
  }
}

// What a limit kept out, which nobody would notice otherwise. `chosen` counts all prompts that
// the limits let through, also those that are held out.
void ReportLimits(const RunPrompts& prompts, const PromptOptions& options, size_t chosen,
                  bool wants_split) {
  const auto available = static_cast<size_t>(prompts.calibration.available_count);
  if (chosen >= available) return;
  const bool by_count =
      options.max_prompts > 0 && chosen == static_cast<size_t>(options.max_prompts);
  const std::string text =
      by_count ? fmt::format("--max-prompts takes {} of {} prompts", chosen, available)
               : fmt::format("--max-tokens {} is used up after {} of {} prompts",
                             options.max_tokens, chosen, available);
  if (wants_split && chosen < kFewestPromptsToSplit && available >= kFewestPromptsToSplit) {
    LogWarning(fmt::format(
        "{}, and fewer than {} are not split: hence no held-out prompts (a larger limit, or "
        "--held-out FILE)",
        text, kFewestPromptsToSplit));
  } else {
    LogInfo(text);
  }
}

void Report(const RunPrompts& prompts) {
  const PromptSet& calibration = prompts.calibration;
  LogInfo(fmt::format("prompts: {} of {} ({}), {} tokens in all", calibration.prompts.size(),
                      calibration.available_count, fmt::join(calibration.sources, ", "),
                      calibration.token_count));
  if (prompts.held_out.empty()) {
    LogInfo("held-out prompts: none, plans are judged on the prompts of the search alone");
    return;
  }
  size_t tokens = 0;
  for (const TokenIds& ids : prompts.held_out) tokens += ids.size();
  const bool split = prompts.held_out_source == "split";
  LogInfo(fmt::format("held-out prompts: {} ({}), {} tokens in all", prompts.held_out.size(),
                      split ? "the last quarter of --prompts" : prompts.held_out_source, tokens));
}

}  // namespace

PromptSet LoadPrompts(const RunInputs& inputs, const ModelConfig& config) {
  return Load(inputs, config, inputs.prompts.files, BundledSet::kCalibration);
}

std::string ShortPromptsWarning(const RunPrompts& prompts, int64_t context) {
  constexpr int64_t kMuchShorter = 4;
  int64_t longest = 0;
  for (const TokenIds& ids : prompts.calibration.prompts)
    longest = std::max(longest, static_cast<int64_t>(ids.size()));
  if (longest * kMuchShorter > context) return "";
  return fmt::format(
      "the longest prompt has {} tokens and bytes are counted at {} (--context): what plans lose "
      "so far on is not measured; only longer --prompts show it",
      longest, context);
}

RunPrompts LoadRunPrompts(const RunInputs& inputs, const std::string& held_out,
                          const ModelConfig& config) {
  RunPrompts prompts;
  prompts.calibration = LoadPrompts(inputs, config);
  const size_t chosen = prompts.calibration.prompts.size();
  prompts.held_out_source = held_out;
  if (held_out.empty() && inputs.prompts.files.empty()) {
    prompts.held_out_source = "bundled";
    prompts.held_out = Load(inputs, config, {}, BundledSet::kHeldOut).prompts;
  } else if (held_out.empty() && prompts.calibration.prompts.size() >= kFewestPromptsToSplit) {
    prompts.held_out_source = "split";
    SplitOff(prompts);
  } else if (held_out.empty() || held_out == "none") {
    prompts.held_out_source = "none";
  } else {
    prompts.held_out = Load(inputs, config, {held_out}, BundledSet::kHeldOut).prompts;
  }
  RequireDisjoint(prompts);
  Report(prompts);
  // Bundled sets are meant to be used in part.
  if (!inputs.prompts.files.empty())
    ReportLimits(prompts, inputs.prompts, chosen, held_out.empty());
  return prompts;
}

}  // namespace kvtune
