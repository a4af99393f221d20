#include "lib/report/front_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lib/base/printable.h"
#include "lib/base/quantity.h"
#include "lib/base/statistics.h"
#include "lib/report/latency_text.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

// A line of the table: a plan and the remark that stands beside its name.
struct Line {
  const ScoredPlan* plan = nullptr;
  std::string mark;
};

enum class Intervals { kShown, kLeftOut };

// Whether all layers have one pair, or all layers except those that the engine keeps exact beside
// it.
bool IsUniform(const PrecisionPlan& plan, const ParetoFront& front) {
  return std::ranges::count(plan.layers, plan.layers.front()) == std::ssize(plan.layers) ||
         std::ranges::count(front.uniform, plan, &ScoredPlan::plan) > 0;
}

std::string HeldOutText(const ScoredPlan& plan, Intervals intervals) {
  if (!plan.held_out) return "-";
  const HeldOutScore& held_out = *plan.held_out;
  // The mark stands beside the number, where it is read. It says that the held-out loss is outside
  // the interval that calibration promised.
  const double loss = LossOf(plan, ScoreSet::kHeldOut);
  const std::optional<Interval>& promised = plan.calibration_interval;
  const bool leaves = promised && (loss < promised->low || loss > promised->high);
  const char* mark = leaves ? " !" : "";
  if (intervals == Intervals::kLeftOut) return LossText(loss) + mark;
  if (!held_out.loss_interval) {
    return fmt::format("{} [{} prompts needed]{}", LossText(loss), held_out.prompts_for_interval,
                       mark);
  }
  return fmt::format("{} [{}, {}]{}", LossText(loss), LossText(held_out.loss_interval->low),
                     LossText(held_out.loss_interval->high), mark);
}

bool HasTime(const Line& line) { return line.plan->cost.latency_ms.has_value(); }

// The score that counts: the held-out one where there is one.
const PlanScore& BestScore(const ScoredPlan& plan) {
  return plan.held_out ? plan.held_out->score : plan.calibration;
}

// Their ranks are the order in which a narrow terminal loses the columns: expected acceptance,
// effective tokens, nominal bits, the calibration loss, the tail, bytes, top-1, and the mark. The
// time of a search by time stays.
TextTable MakeTable(const std::vector<Line>& lines, Intervals intervals) {
  const auto any = [&](auto predicate) { return std::ranges::any_of(lines, predicate); };
  const bool has_marks = any([](const Line& line) { return !line.mark.empty(); });
  const bool has_held_out = any([](const Line& line) { return line.plan->held_out.has_value(); });
  // Files of earlier versions lack these two.
  const bool has_acceptance =
      any([](const Line& line) { return BestScore(*line.plan).total_variation.has_value(); });
  const bool has_tokens =
      any([](const Line& line) { return BestScore(*line.plan).effective_tokens.has_value(); });
  const std::string loss(Describe().word);
  // Without a held-out loss the calibration loss is the one that counts, and stays.
  std::vector<Column> columns = {{"plan", Align::kLeft}};
  if (has_marks) columns.push_back({"", Align::kLeft, 8});
  columns.push_back({"eff. bits"});
  columns.push_back({"bits", Align::kRight, 3});
  columns.push_back({"bytes/token", Align::kRight, 6});
  const bool has_times = any(HasTime);
  if (has_times) columns.push_back({"ms"});
  columns.push_back({loss, Align::kRight, has_held_out ? 4 : 0});
  columns.push_back({"KL 99.9 %", Align::kRight, 5});
  columns.push_back({"top-1", Align::kRight, 7});
  if (has_acceptance) columns.push_back({"accept", Align::kRight, 1});
  if (has_held_out) {
    columns.push_back({"held-out " + loss + (intervals == Intervals::kShown ? " [95 %]" : "")});
  }
  if (has_tokens) columns.push_back({"eff. tokens", Align::kRight, 2});
  columns.push_back({"layers", Align::kLeft});

  TextTable table(std::move(columns));
  for (const Line& line : lines) {
    const ScoredPlan& plan = *line.plan;
    std::vector<std::string> cells = {plan.name};
    if (has_marks) cells.push_back(line.mark);
    cells.push_back(fmt::format("{:.2f}", plan.cost.effective_bits));
    cells.push_back(fmt::format("{:.2f}", plan.cost.nominal_bits));
    cells.push_back(fmt::format("{:.0f}", plan.cost.bytes_per_token));
    if (has_times) cells.push_back(HasTime(line) ? MillisecondsText(*plan.cost.latency_ms) : "-");
    cells.push_back(LossText(LossOf(plan, ScoreSet::kCalibration)));
    cells.push_back(LossText(plan.calibration.kl_p999));
    cells.push_back(fmt::format("{:.4f}", plan.calibration.top1_agreement));
    const PlanScore& score = BestScore(plan);
    if (has_acceptance) {
      cells.push_back(score.total_variation ? fmt::format("{:.4f}", 1 - *score.total_variation)
                                            : "-");
    }
    if (has_held_out) cells.push_back(HeldOutText(plan, intervals));
    if (has_tokens) {
      cells.push_back(score.effective_tokens ? fmt::format("{:.0f}", *score.effective_tokens)
                                             : "-");
    }
    cells.push_back(PlanSpec(plan.plan));
    table.AddRow(std::move(cells));
  }
  return table;
}

// Says what the marks in a table mean, those that it has.
std::string MarkSentences(const std::string& table, bool has_times) {
  std::string text;
  if (table.find(" < ") != std::string::npos) {
    text += fmt::format("<: the plan that is named loses less at no more bytes{}.\n",
                        has_times ? " and in no more time" : "");
  }
  if (table.find(" !") != std::string::npos) {
    text +=
        "!: outside the interval that the calibration prompts gave; these prompts are not enough "
        "to know the loss well.\n";
  }
  return text;
}

// The intervals are what goes last: a table that is too wide with them would be cut into several.
std::string Render(const std::vector<Line>& lines, size_t width) {
  std::string table = MakeTable(lines, Intervals::kShown).Render(width);
  if (table.find("\n\n") != std::string::npos)
    table = MakeTable(lines, Intervals::kLeftOut).Render(width);
  return table + WrappedText(MarkSentences(table, std::ranges::any_of(lines, HasTime)), width);
}

// Describes ascending ratios, for example "1.3 to 12 times".
std::string RatioText(std::vector<double> ratios) {
  const auto [low, high] = std::ranges::minmax(ratios);
  if (ratios.size() == 1) return FactorText(low) + " times";
  return fmt::format("{} to {} times (median {})", FactorText(low), FactorText(high),
                     FactorText(Quantile(ratios, 0.5)));
}

}  // namespace

std::string LossText(double loss) {
  if (loss == 0) return "0";
  if (loss >= 1e-3 && loss < 1e4) return fmt::format("{:.3g}", loss);
  return WithShortExponent(fmt::format("{:.2e}", loss));
}

std::vector<UniformComparison> CompareWithUniform(const ParetoFront& front) {
  const ScoreSet scores = ComparableScores(front);
  std::vector<UniformComparison> comparisons;
  for (const ScoredPlan& uniform : front.uniform) {
    UniformComparison comparison{.uniform = &uniform};
    double best = LossOf(uniform, scores) - front.run.noise_floor.value_or(0);
    for (const ScoredPlan& plan : front.plans) {
      if (IsUniform(plan.plan, front)) continue;
      if (!TakesNoMore(plan.cost, uniform.cost)) continue;
      if (LossOf(plan, scores) >= best) continue;
      best = LossOf(plan, scores);
      comparison.beaten_by = &plan;
    }
    comparisons.push_back(comparison);
  }
  return comparisons;
}

std::string UniformSentence(const ParetoFront& front) {
  if (front.uniform.empty()) return "";
  const ScoreSet scores = ComparableScores(front);
  const std::string loss =
      fmt::format("{}{}", scores == ScoreSet::kHeldOut ? "held-out " : "", Describe().word);
  std::vector<double> ratios;  // ratios of losses, where the front's loss is not 0
  size_t beaten = 0;
  for (const UniformComparison& comparison : CompareWithUniform(front)) {
    if (comparison.beaten_by == nullptr) continue;
    ++beaten;
    const double best = LossOf(*comparison.beaten_by, scores);
    if (best > 0) ratios.push_back(LossOf(*comparison.uniform, scores) / best);
  }
  if (front.search &&
      front.search->distinct_plans <= static_cast<int64_t>(front.uniform.size()) + 1) {
    return front.search->exhaustive
               ? fmt::format("There are only the {} uniform plans, and all are scored.\n",
                             front.uniform.size())
               : fmt::format("So far only the {} uniform plans are scored, and no other one.\n",
                             front.uniform.size());
  }
  if (front.is_by_answers()) return "";  // its front is not one of losses
  const char* in_time = front.latency ? " and in no more time" : "";
  if (beaten == 0) {
    return fmt::format(
        "No layer-wise plan of the front beats any of the {} uniform plans at equal "
        "or fewer bytes{} (by {}): choose a uniform one.\n",
        front.uniform.size(), in_time, loss);
  }
  std::string sentence =
      fmt::format("Layer-wise plans beat {} of {} uniform plans at equal or fewer bytes{}", beaten,
                  front.uniform.size(), in_time);
  if (!ratios.empty()) {
    sentence += fmt::format(": the {} of the uniform plan is {} as high", loss, RatioText(ratios));
  }
  return sentence + ".\n";
}

const ScoredPlan* SmallestTie(const ParetoFront& front, const ScoredPlan& plan) {
  const ScoredPlan* smallest = nullptr;
  const ScoreSet scores = ComparableScores(front);
  for (const ScoredPlan& other : front.plans) {
    const double more = LossOf(other, scores) - LossOf(plan, scores);
    if (std::abs(more) >= front.run.noise_floor.value_or(0)) continue;
    if (other.cost.bytes_per_token >= (smallest ? *smallest : plan).cost.bytes_per_token) continue;
    if (!TakesNoMore(other.cost, plan.cost)) continue;
    smallest = &other;
  }
  return smallest;
}

std::string TieSentence(const ParetoFront& front) {
  const bool any = std::ranges::any_of(
      front.plans, [&](const ScoredPlan& plan) { return SmallestTie(front, plan) != nullptr; });
  if (!any) return "";
  return fmt::format(
      "=: a smaller plan whose {} differs by less than {:.2g}, which rounding in {} makes of any "
      "score.\n",
      Describe().word, *front.run.noise_floor, front.run.dtype);
}

std::string PaddingSentence(std::span<const ScoredPlan> plans, std::string_view engine) {
  const auto growth = [](const ScoredPlan& plan) {
    return plan.cost.padded_bytes_per_token.value_or(0) / plan.cost.bytes_per_token;
  };
  if (plans.empty() || !plans.front().cost.padded_bytes_per_token) return "";
  const ScoredPlan& most = *std::ranges::max_element(plans, {}, growth);
  const auto growing =
      std::ranges::count_if(plans, [&](const ScoredPlan& plan) { return growth(plan) > 1 + 1e-9; });
  std::string consequence =
      "a plan of several formats takes more bytes per token; no plan here does";
  if (growing > 0) {
    consequence =
        fmt::format("{} takes {:.0f} bytes per token, not {:.0f}", PrintableLine(most.name),
                    *most.cost.padded_bytes_per_token, most.cost.bytes_per_token);
  }
  if (growing > 1) consequence += fmt::format(", the most of {} such plans", growing);
  return fmt::format(
      "Some layers have sliding windows: {} may pad the pages of all layers to one size, and then "
      "{}.\n",
      engine, consequence);
}

std::string PaddingSentence(const ParetoFront& front) {
  std::vector<ScoredPlan> plans = front.plans;
  for (const ScoredPlan& plan : front.uniform) {
    if (std::ranges::find(plans, plan.plan, &ScoredPlan::plan) == plans.end())
      plans.push_back(plan);
  }
  return PaddingSentence(plans, front.run.target);
}

std::string LatencySentence(const ParetoFront& front) {
  if (!front.latency) return "";
  return fmt::format(
      "ms: attention of all layers in a decode step of {} sequence{} with {} tokens each, measured "
      "on {}.\n",
      front.latency->setting.batch, front.latency->setting.batch == 1 ? "" : "s",
      TokensText(front.latency->setting.context_tokens), PrintableLine(front.latency->device));
}

std::string SearchSentences(const ParetoFront& front) {
  if (!front.search) return "";
  const SearchSummary& search = *front.search;
  const int64_t wanted = search.prompt_scores + search.prompt_scores_saved;
  std::string text = fmt::format(
      "Searched with {}: {} plans, {} of {} prompt-scores ({:.0f} % saved by racing); {}.\n",
      search.algorithm, search.distinct_plans, search.prompt_scores, wanted,
      wanted > 0
          ? 100.0 * static_cast<double>(search.prompt_scores_saved) / static_cast<double>(wanted)
          : 0.0,
      search.stop_reason);
  std::vector<std::string> volumes;
  for (const GenerationReport& report : search.generations) {
    volumes.push_back(fmt::format("{:.5g}", report.hypervolume));
  }
  text += fmt::format("Hypervolume by generation: {}", fmt::join(volumes, ", "));
  if (search.surrogate_hypervolume.value_or(0) > 0 && !search.generations.empty()) {
    text +=
        fmt::format("; the last is {:.1f} % of the surrogate's exact front",
                    100 * search.generations.back().hypervolume / *search.surrogate_hypervolume);
  }
  return text + ".\n";
}

std::string PlanTable(std::span<const ScoredPlan> plans, size_t width) {
  std::vector<Line> lines;
  for (const ScoredPlan& plan : plans) lines.push_back({&plan, ""});
  return Render(lines, width);
}

std::string FrontTable(const ParetoFront& front, size_t width) {
  std::vector<Line> lines;
  for (const ScoredPlan& plan : front.plans) {
    std::string mark = IsUniform(plan.plan, front) ? "uniform" : "";
    if (const ScoredPlan* tie = SmallestTie(front, plan)) {
      mark += (mark.empty() ? "= " : " = ") + tie->name;
    }
    lines.push_back({&plan, std::move(mark)});
  }
  for (const UniformComparison& comparison : CompareWithUniform(front)) {
    const ScoredPlan& uniform = *comparison.uniform;
    if (std::ranges::find(front.plans, uniform.plan, &ScoredPlan::plan) != front.plans.end()) {
      continue;  // it is listed above
    }
    std::string mark = "uniform";
    if (comparison.beaten_by != nullptr) mark += " < " + comparison.beaten_by->name;
    lines.push_back({&uniform, std::move(mark)});
  }
  std::ranges::stable_sort(lines, [](const Line& a, const Line& b) {
    return a.plan->cost.bytes_per_token > b.plan->cost.bytes_per_token;
  });
  return Render(lines, width);
}

}  // namespace kvtune
