// kvtune pareto: looking at a front and taking a plan out of it.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "apps/kvtune/print_summary.h"
#include "lib/base/log.h"
#include "lib/report/budget_text.h"
#include "lib/report/front_plot.h"
#include "lib/report/front_table.h"
#include "lib/report/plan_diff.h"
#include "lib/report/text_table.h"
#include "lib/run/merge_runs.h"
#include "lib/run/plan_budget.h"
#include "lib/run/plan_source.h"
#include "lib/run/stages.h"
#include "lib/targets/kernels.h"
#include "search/pick.h"

namespace kvtune {
namespace {

std::string LayerTable(const PrecisionPlan& plan) {
  TextTable table({{"layer", Align::kRight},
                   {"keys", Align::kLeft},
                   {"values", Align::kLeft},
                   {"pair", Align::kLeft}});
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const PrecisionPair pair = plan.layers[layer];
    table.AddRow({fmt::format("{}", layer), std::string(FormatOf(pair.key).name),
                  std::string(FormatOf(pair.value).name), PairLabel(pair)});
  }
  return table.Render(TerminalWidth());
}

void PrintAll(const ParetoFront& front, OutputFormat format) {
  if (format == OutputFormat::kJson) return PrintJson(ToJson(front));
  const size_t width = TerminalWidth();
  PrintText(FrontTable(front, width) + "\n" +
            WrappedText(SentencesBelow(front) + TieSentence(front), width) + AnswersText(front));
}

}  // namespace

ExitCode RunParetoList(const ListArguments& arguments, const Invocation& invocation) {
  if (arguments.all || invocation.format == OutputFormat::kJson) {
    PrintAll(ReadFront(arguments.run), invocation.format);
  } else {
    PrintSummary(arguments.run, DiagnosisOf(arguments.run));
  }
  return ExitCode::kOk;
}

ExitCode RunParetoDiff(const DiffArguments& arguments, const Invocation& invocation) {
  const ParetoFront front = ReadFrontByPrompt(arguments.run);
  const ScoredPlan& a = RequirePlan(front, arguments.a, arguments.run);
  const ScoredPlan& b = RequirePlan(front, arguments.b, arguments.run);
  if (invocation.format == OutputFormat::kJson) {
    Json document = NewDocument();
    document.update(PlanDiffToJson(a, b, front.run.noise_floor.value_or(0)));
    PrintJson(document);
  } else {
    PrintText(PlanDiffText(a, b, front.run.noise_floor.value_or(0), TerminalWidth()));
  }
  return ExitCode::kOk;
}

ExitCode RunParetoShow(const FrontArguments& arguments, const Invocation& invocation) {
  const ParetoFront front = ReadFront(arguments.run);
  const ScoredPlan& plan = RequirePlan(front, arguments.plan, arguments.run);
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(plan));
  } else {
    PrintText(PlanTable(std::span(&plan, 1), TerminalWidth()) +
              PaddingSentence(std::span(&plan, 1), front.run.target) +
              KernelSentence(std::span(&plan, 1), FindTarget(front.run.target)) +
              WrappedText(LatencySentence(front), TerminalWidth()) + "\n" + LayerTable(plan.plan));
  }
  return ExitCode::kOk;
}

ExitCode RunParetoPlot(const PlotArguments& arguments, const Invocation& invocation) {
  const ParetoFront front = ReadFront(arguments.run);
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(front));
    return ExitCode::kOk;
  }
  PlotOptions options;
  options.width = TerminalWidth() > 0 ? TerminalWidth() : options.width;
  options.unicode = !arguments.ascii;
  if (arguments.time) options.axis = PlotAxis::kMilliseconds;
  PrintText(FrontPlot(front, options));
  return ExitCode::kOk;
}

ExitCode RunParetoMerge(const MergeArguments& arguments, const Invocation& invocation) {
  const ParetoFront front = MergeRuns(arguments.runs, arguments.out, invocation.command_line);
  LogInfo(
      fmt::format("{} holds the front of {} runs", arguments.out.string(), arguments.runs.size()));
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(front));
  } else {
    PrintSummary(arguments.out, DiagnosisOf(arguments.out));
  }
  return ExitCode::kOk;
}

ExitCode RunParetoPick(const PickArguments& arguments, const Invocation& invocation) {
  ParetoFront front = ReadFrontByPrompt(arguments.run);
  PickConstraints constraints = arguments.constraints;
  if (constraints.like == kRecommended)
    constraints.like = RequirePlan(front, *constraints.like, arguments.run).name;
  CountBytesAt(front, arguments.context.value_or(front.run.context));
  std::optional<MemoryBudget> budget;
  if (arguments.memory.is_asked_for()) {
    budget = BudgetForModel(arguments.memory, front.run.model, front.run.context);
    constraints.max_bytes =
        std::min(budget->most_bytes_per_token(),
                 constraints.max_bytes.value_or(std::numeric_limits<double>::infinity()));
  }
  const PickedPlan picked = PickPlan(front, constraints);
  LogInfo(fmt::format("{}: {}", picked.plan.name, picked.reason));
  if (invocation.format == OutputFormat::kJson) {
    Json json = ToJson(picked.plan);
    if (picked.comparison) {
      json["comparison"] = ToJson(*picked.comparison);
      json["comparison"]["reference"] = picked.reference;
    }
    if (!picked.ties.empty()) json["ties"] = picked.ties;
    PrintJson(json);
  } else {
    const size_t width = TerminalWidth();
    std::string text = PlanTable(std::span(&picked.plan, 1), width) +
                       PaddingSentence(std::span(&picked.plan, 1), front.run.target) +
                       KernelSentence(std::span(&picked.plan, 1), FindTarget(front.run.target)) +
                       LatencySentence(front);
    if (budget) text += FitText(*budget, picked.plan, front.reference);
    PrintText(WrappedText(text, width));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
