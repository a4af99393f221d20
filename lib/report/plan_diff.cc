#include "lib/report/plan_diff.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "lib/base/printable.h"
#include "lib/base/quantity.h"
#include "lib/core/objective.h"
#include "lib/core/plan_comparison.h"
#include "lib/report/front_table.h"
#include "lib/report/latency_text.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

std::string RangeText(const LayerDifference& difference) {
  if (difference.first == difference.last) return fmt::format("{}", difference.first);
  return fmt::format("{}-{}", difference.first, difference.last);
}

std::optional<PlanComparison> Compare(const ScoredPlan& a, const ScoredPlan& b,
                                      double noise_floor) {
  return ComparePlans(b, a, {.noise_floor = noise_floor});
}

std::string PairedSentence(const PlanComparison& comparison, const ScoredPlan& a,
                           const ScoredPlan& b) {
  std::string text =
      fmt::format("Prompt by prompt, {} loses more on {} of {}", PrintableLine(b.name),
                  comparison.worse_prompts, comparison.prompts);
  if (comparison.interval) {
    text +=
        fmt::format("; the ratio of the losses lies in [{}, {}] (95 %)",
                    FactorText(comparison.interval->low), FactorText(comparison.interval->high));
  }
  switch (comparison.standing) {
    case Standing::kAsGood:
      text += fmt::format(": {} is as good as {}", PrintableLine(b.name), PrintableLine(a.name));
      break;
    case Standing::kWorse:
      text += fmt::format(": {} is worse", PrintableLine(b.name));
      break;
    case Standing::kTie:
      text += ": a tie";
      break;
    case Standing::kUndecided:
      text += ": too few prompts carry the loss to say which is better";
      break;
  }
  if (comparison.prompts_to_decide)
    text +=
        fmt::format("; about {} prompts like these would decide", *comparison.prompts_to_decide);
  return text + ".\n";
}

std::string TimesSentence(const ScoredPlan& a, const ScoredPlan& b) {
  if (!a.cost.latency_ms || !b.cost.latency_ms) return "";
  std::string text = fmt::format("Attention of a decode step: {} takes {} ms, {} takes {} ms",
                                 PrintableLine(a.name), MillisecondsText(*a.cost.latency_ms),
                                 PrintableLine(b.name), MillisecondsText(*b.cost.latency_ms));
  if (*a.cost.latency_ms > 0)
    text += fmt::format(", {:.2f} times as long", *b.cost.latency_ms / *a.cost.latency_ms);
  return text + ".\n";
}

std::string LossSentence(const ScoredPlan& a, const ScoredPlan& b, double noise_floor) {
  const bool held_out = a.held_out && b.held_out;
  const ScoreSet scores = held_out ? ScoreSet::kHeldOut : ScoreSet::kCalibration;
  std::string text =
      fmt::format("{}{}: {} loses {}, {} loses {}", held_out ? "Held-out " : "Calibration ",
                  Describe().word, PrintableLine(a.name), LossText(LossOf(a, scores)),
                  PrintableLine(b.name), LossText(LossOf(b, scores)));
  if (LossOf(a, scores) > noise_floor)
    text += fmt::format(", {} times as much", FactorText(LossOf(b, scores) / LossOf(a, scores)));
  text += ".\n";
  if (const auto comparison = Compare(a, b, noise_floor)) text += PairedSentence(*comparison, a, b);
  return text;
}

}  // namespace

std::vector<LayerDifference> LayerDifferences(const PrecisionPlan& a, const PrecisionPlan& b) {
  std::vector<LayerDifference> differences;
  for (size_t layer = 0; layer < a.layers.size(); ++layer) {
    if (a.layers[layer] == b.layers[layer]) continue;
    if (!differences.empty()) {
      LayerDifference& before = differences.back();
      if (before.last + 1 == layer && before.a == a.layers[layer] && before.b == b.layers[layer]) {
        before.last = layer;
        continue;
      }
    }
    differences.push_back({layer, layer, a.layers[layer], b.layers[layer]});
  }
  return differences;
}

std::string PlanDiffText(const ScoredPlan& a, const ScoredPlan& b, double noise_floor,
                         size_t width) {
  const std::vector<LayerDifference> differences = LayerDifferences(a.plan, b.plan);
  std::string text;
  if (differences.empty()) {
    text = "The plans are the same in every layer.\n";
  } else {
    TextTable table({{"layers", Align::kLeft}, {a.name, Align::kLeft}, {b.name, Align::kLeft}});
    for (const LayerDifference& difference : differences)
      table.AddRow({RangeText(difference), PairLabel(difference.a), PairLabel(difference.b)});
    text = table.Render(width);
  }
  return text +
         WrappedText(
             fmt::format(
                 "Bytes per token: {} takes {:.0f}, {} takes {:.0f}, {:.2f} times as much.\n",
                 PrintableLine(a.name), a.cost.bytes_per_token, PrintableLine(b.name),
                 b.cost.bytes_per_token, b.cost.bytes_per_token / a.cost.bytes_per_token) +
                 TimesSentence(a, b) + LossSentence(a, b, noise_floor),
             width);
}

Json PlanDiffToJson(const ScoredPlan& a, const ScoredPlan& b, double noise_floor) {
  Json layers = Json::array();
  for (const LayerDifference& difference : LayerDifferences(a.plan, b.plan)) {
    layers.push_back({{"first", difference.first},
                      {"last", difference.last},
                      {"a", PairLabel(difference.a)},
                      {"b", PairLabel(difference.b)}});
  }
  const std::optional<PlanComparison> comparison = Compare(a, b, noise_floor);
  return {{"a", ToJson(a)},
          {"b", ToJson(b)},
          {"layers", std::move(layers)},
          {"bytes_ratio", b.cost.bytes_per_token / a.cost.bytes_per_token},
          {"comparison", comparison ? ToJson(*comparison) : Json(nullptr)}};
}

}  // namespace kvtune
