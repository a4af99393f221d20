// kvtune pareto: looking at a front and taking a plan out of it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/base/log.h"
#include "lib/report/front_table.h"
#include "lib/report/text_table.h"
#include "lib/report/trust_text.h"
#include "lib/run/plan_source.h"
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

}  // namespace

ExitCode RunParetoList(const FrontArguments& arguments, const Invocation& invocation) {
  const ParetoFront front = ReadFront(arguments.run);
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(front));
  } else {
    PrintText(FrontTable(front, TerminalWidth()) + "\n" + UniformSentence(front) +
              OptimismSentence(front) + EffectiveTokensSentence(front) + TieSentence(front) +
              PaddingSentence(front) + KernelSentence(front));
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
              KernelSentence(std::span(&plan, 1), FindTarget(front.run.target)) + "\n" +
              LayerTable(plan.plan));
  }
  return ExitCode::kOk;
}

ExitCode RunParetoPick(const PickArguments& arguments, const Invocation& invocation) {
  const ParetoFront front = ReadFrontByPrompt(arguments.run);
  const PickedPlan picked = PickPlan(front, arguments.constraints);
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
    PrintText(PlanTable(std::span(&picked.plan, 1), TerminalWidth()) +
              PaddingSentence(std::span(&picked.plan, 1), front.run.target) +
              KernelSentence(std::span(&picked.plan, 1), FindTarget(front.run.target)));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
