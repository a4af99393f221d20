#include "lib/report/front_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <vector>

#include "lib/base/bar.h"
#include "lib/base/printable.h"
#include "lib/base/quantity.h"
#include "lib/report/budget_text.h"
#include "lib/report/front_table.h"
#include "lib/report/latency_text.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

constexpr size_t kBarColumns = 12;  // of the whole of bf16
constexpr const char* kTop1 = "same top";

// Two digits are all that such a loss is known to.
std::string ShortLoss(double loss) {
  if (loss == 0) return "0";
  if (loss >= 1e-3) return fmt::format("{:.2g}", loss);
  return WithShortExponent(fmt::format("{:.1e}", loss));
}

class Summary {
 public:
  Summary(const ParetoFront& front, const SummaryChoice& choice, const SummaryOptions& options)
      : front_(front),
        choice_(choice),
        options_(options),
        comparisons_(CompareWithUniform(front)) {}

  std::string Text() const {
    return Wrap(Header()) + (options_.width > 0 ? Table() : FrontTable(front_, 0)) +
           Wrap(WhyNotFourBits()) + Answers() + Wrap(Next());
  }

 private:
  std::string Wrap(const std::string& text) const { return WrappedText(text, options_.width); }

  bool is_held_out() const { return choice_.scores == ScoreSet::kHeldOut; }

  std::string Header() const {
    std::filesystem::path model = front_.run.model;
    if (!model.has_filename()) model = model.parent_path();
    const int64_t plans = front_.search ? front_.search->distinct_plans : std::ssize(front_.plans);
    const int64_t prompts =
        is_held_out() ? front_.reference.held_out->score.prompts : front_.run.prompt_count;
    return fmt::format("{}, target {}: {} plans, {} {} prompts\n",
                       PrintableLine(model.filename().string()), front_.run.target, plans, prompts,
                       is_held_out() ? "held-out" : "calibration");
  }

  double ShareOf(const ScoredPlan& plan) const {
    return plan.cost.bytes_per_token / front_.reference.cost.bytes_per_token;
  }
  std::string PercentOf(const ScoredPlan& plan) const {
    return fmt::format("{:.0f} %", 100 * ShareOf(plan));
  }

  std::string LossWithInterval(const ScoredPlan& plan) const {
    const std::string loss = ShortLoss(LossOf(plan, choice_.scores));
    std::optional<Interval> interval = plan.calibration_interval;
    if (is_held_out()) interval = plan.held_out->loss_interval;
    if (!interval) {
      const int64_t needed = is_held_out() ? plan.held_out->prompts_for_interval : 0;
      return needed > 0 ? fmt::format("{} [needs {} prompts]", loss, needed)
                        : loss + " [too few prompts]";
    }
    return fmt::format("{} [{}, {}]", loss, ShortLoss(interval->low), ShortLoss(interval->high));
  }

  const PlanScore& ScoreOf(const ScoredPlan& plan) const {
    return is_held_out() ? plan.held_out->score : plan.calibration;
  }

  // The layers of a plan; of a uniform plan, how it compares with the one that beats it.
  std::string Layers(const ScoredPlan& plan) const {
    for (const UniformComparison& comparison : comparisons_) {
      if (comparison.uniform->plan != plan.plan) continue;
      if (!comparison.beaten_by) return "all layers";
      const double loss = LossOf(*comparison.beaten_by, choice_.scores);
      if (loss <= 0) return "all layers";
      return fmt::format("{} times the loss of {}", FactorText(LossOf(plan, choice_.scores) / loss),
                         comparison.beaten_by->name);
    }
    return ShortPlanText(plan.plan);
  }

  // With the longest bars that leave room for the rest: the column that goes first is there.
  std::string Table() const {
    std::string table;
    for (const size_t bar_columns : {kBarColumns, kBarColumns / 2, size_t{0}}) {
      table = TableWithBars(bar_columns);
      if (table.find(kTop1) != std::string::npos) break;
    }
    return table;
  }

  std::string TableWithBars(size_t bar_columns) const {
    std::vector<Column> columns = {
        {.header = "plan", .align = Align::kLeft, .wraps = false},
        {.header = bar_columns > 0 ? "size vs bf16" : "of bf16",
         .align = Align::kLeft,
         .wraps = false},
        {.header = fmt::format("loss ({}{})", Describe().word, is_held_out() ? ", held-out" : ""),
         .align = Align::kLeft,
         .wraps = false},
        {.header = kTop1, .rank = 1},
        {.header = "layers", .align = Align::kLeft}};
    if (front_.latency) columns.insert(columns.begin() + 2, {.header = "ms"});
    TextTable table(std::move(columns));
    size_t longest = 0;
    std::vector<std::string> bars;
    for (const ScoredPlan* plan : choice_.rows) {
      bars.push_back(Bar(ShareOf(*plan), bar_columns, options_.unicode));
      longest = std::max(longest, DisplayWidth(bars.back()));
    }
    for (size_t i = 0; i < choice_.rows.size(); ++i) {
      const ScoredPlan& plan = *choice_.rows[i];
      const std::string gap(longest - DisplayWidth(bars[i]) + (bar_columns > 0 ? 1 : 0), ' ');
      const bool is_recommended = choice_.recommended && choice_.recommended->plan == plan.plan;
      const char* mark = is_recommended ? "*" : " ";
      std::vector<std::string> cells = {
          mark + plan.name, bars[i] + gap + fmt::format("{:>5}", PercentOf(plan)),
          LossWithInterval(plan), fmt::format("{:.2f} %", 100 * ScoreOf(plan).top1_agreement),
          Layers(plan)};
      if (front_.latency) cells.insert(cells.begin() + 2, MillisecondsText(*plan.cost.latency_ms));
      table.AddRow(std::move(cells));
    }
    return table.Render(options_.width);
  }

  // Which 4 bits are enough, and why others are not.
  std::string WhyNotFourBits() const {
    if (!choice_.four_bits) return "";
    std::string text;
    if (LossOf(*choice_.best_four_bits, choice_.scores) <= kSmallestLoss) {
      text =
          fmt::format("Plain 4 bits ({}) lose {}, which is little.\n", choice_.best_four_bits->name,
                      ShortLoss(LossOf(*choice_.best_four_bits, choice_.scores)));
    }
    if (LossOf(*choice_.four_bits, choice_.scores) > kSmallestLoss) text += FragileText();
    return text;
  }

  // Why the plan of 4 bits with the largest loss has that.
  std::string FragileText() const {
    const double loss = LossOf(*choice_.four_bits, choice_.scores);
    const std::string text = choice_.best_four_bits == choice_.four_bits
                                 ? "Why not plain 4 bits: "
                                 : fmt::format("Why not {}: ", choice_.four_bits->name);
    const std::optional<Diagnosis>& diagnosis = options_.diagnosis;
    if (!diagnosis || diagnosis->fragile.empty() || !diagnosis->safe_key) {
      return text + fmt::format("{} loses {}, and no single layer stands out.\n",
                                choice_.four_bits->name, ShortLoss(loss));
    }
    std::vector<std::string> layers;
    std::map<std::string_view, size_t> causes;
    double worst = 0;
    for (const FragileLayer& layer : diagnosis->fragile) {
      layers.push_back(fmt::format("{}", layer.index));
      worst = std::max(worst, layer.measured.output_error);
      for (const FragilityCause cause : layer.causes) ++causes[CauseName(cause)];
    }
    std::vector<std::string_view> names;
    // What the errors are said already; here is what makes them.
    for (const auto& [cause, count] : causes) {
      if (cause != CauseName(FragilityCause::kKeyError) &&
          cause != CauseName(FragilityCause::kOutputError))
        names.push_back(cause);
    }
    return text + fmt::format(
                      "keys of layer{} {} lose {:.0f} % of the attention output at {} (others up "
                      "to {:.0f} %){}{}.\n",
                      layers.size() == 1 ? "" : "s", fmt::join(layers, ", "), 100 * worst,
                      FormatOf(*diagnosis->safe_key).name, 100 * diagnosis->ordinary_output_error,
                      names.empty() ? "" : ": ", fmt::join(names, ", "));
  }

  std::string TokensText(const ScoredPlan& plan) const {
    const double differing = 1 - ScoreOf(plan).top1_agreement;
    if (differing <= 0) return "no token differs";
    return fmt::format("1 token in {:.0f} differs", 1 / differing);
  }

  // "0.82 ms of attention, bf16 takes 2.1 times as long".
  std::string SpeedText(const ScoredPlan& plan) const {
    const double exact = *front_.reference.cost.latency_ms, own = *plan.cost.latency_ms;
    std::string text = MillisecondsText(own) + " ms of attention";
    if (own > 0) text += fmt::format(", bf16 takes {} times as long", FactorText(exact / own, 2));
    return fmt::format("{}; {}", text, TokensText(plan));
  }

  std::string Answers() const {
    TextTable table({{"", Align::kLeft}, {"", Align::kLeft}, {""}, {"", Align::kLeft}});
    const auto add = [&](const std::string& question, const ScoredPlan* plan, std::string remark) {
      table.AddRow(
          {question, plan ? plan->name : "-", plan ? PercentOf(*plan) : "", std::move(remark)});
    };
    const auto gain = [&](const ScoredPlan& plan) {
      return fmt::format(
          "{}; {}",
          ContextGainText(plan.cost.bytes_per_token, front_.reference.cost.bytes_per_token),
          TokensText(plan));
    };
    if (choice_.reference) add("Like 8 bits", choice_.like_eight_bits, LikeEightBits());
    if (choice_.recommended) add("Recommended", choice_.recommended, gain(*choice_.recommended));
    if (choice_.smallest) {
      add(fmt::format("{} under {}", Describe().word, kSmallestLoss), choice_.smallest,
          gain(*choice_.smallest));
    }
    if (choice_.fastest) add("Fastest of these", choice_.fastest, SpeedText(*choice_.fastest));
    const std::string text = table.Render(options_.width);
    return text.substr(text.find('\n') + 1);  // the columns need no names
  }

  // "0.88 [0.63, 1.05] times the loss of KV8".
  std::string RatioText(const PlanComparison& comparison) const {
    std::string ratio = fmt::format("{:.2f}", comparison.ratio);
    if (comparison.interval) {
      ratio +=
          fmt::format(" [{:.2f}, {:.2f}]", comparison.interval->low, comparison.interval->high);
    }
    return fmt::format("{} times the loss of {}", ratio, choice_.reference->name);
  }

  std::string LikeEightBits() const {
    if (!choice_.like_eight_bits)
      return "held-out prompts would show it (8 or more --prompts, or --held-out FILE)";
    std::string text = choice_.like_eight_bits->plan == choice_.reference->plan
                           ? "no smaller plan is shown to be as good"
                           : "as good: " + RatioText(*choice_.like_comparison);
    if (!choice_.undecided) return text;
    text += fmt::format("; {} may be: {}", choice_.undecided->name,
                        RatioText(*choice_.undecided_comparison));
    if (const auto prompts = choice_.undecided_comparison->prompts_to_decide)
      text += fmt::format(", about {} held-out prompts decide", *prompts);
    return text;
  }

  std::string Next() const {
    const ScoredPlan* plan = choice_.recommended;
    const std::string all = fmt::format("All plans: kvtune pareto list {} --all\n", options_.run);
    if (!plan) return all;
    return fmt::format("Next: kvtune pareto export {} --plan {}\n", options_.run, plan->name) + all;
  }

  const ParetoFront& front_;
  const SummaryChoice& choice_;
  const SummaryOptions& options_;
  const std::vector<UniformComparison> comparisons_;
};

}  // namespace

std::string ShortPlanText(const PrecisionPlan& plan) {
  const std::string spec = PlanSpec(plan);
  std::string text = spec.substr(0, spec.find(';'));
  std::vector<std::pair<std::string, std::string>> groups;  // pair and its layers
  for (size_t begin = text.size(); begin < spec.size();) {
    const size_t end = std::min(spec.find(';', begin + 1), spec.size());
    const std::string part = spec.substr(begin + 1, end - begin - 1);
    begin = end;
    const size_t colon = part.find(':');
    const std::string pair = part.substr(colon + 1);
    const auto known = std::ranges::find(groups, pair, [](const auto& each) { return each.first; });
    if (known == groups.end()) {
      groups.emplace_back(pair, part.substr(0, colon));
    } else {
      known->second += "," + part.substr(0, colon);
    }
  }
  for (const auto& [pair, layers] : groups) text += fmt::format("; {} {}", layers, pair);
  return text;
}

std::string FrontSummary(const ParetoFront& front, const SummaryChoice& choice,
                         const SummaryOptions& options) {
  return Summary(front, choice, options).Text();
}

}  // namespace kvtune
