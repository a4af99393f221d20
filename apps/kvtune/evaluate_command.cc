// kvtune evaluate: scores of given plans.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/evaluate_task.h"
#include "apps/kvtune/open_model.h"
#include "apps/kvtune/output.h"
#include "lib/base/line_reader.h"
#include "lib/calib/model_evaluator.h"
#include "lib/io/model_directory.h"
#include "lib/report/front_table.h"
#include "lib/report/text_table.h"
#include "lib/run/logged_scores.h"
#include "lib/run/model_session.h"
#include "lib/run/plan_line.h"
#include "lib/run/plan_source.h"
#include "lib/targets/kernels.h"
#include "lib/targets/target.h"
#include "search/evaluation_cache.h"

namespace kvtune {
namespace {

std::vector<NamedPlan> PlansOf(const EvaluateArguments& arguments, size_t layer_count,
                               const Target& target) {
  std::vector<NamedPlan> plans;
  const auto add = [&](NamedPlan added) {
    for (const NamedPlan& plan : plans) {
      if (plan.name == added.name) return;
    }
    plans.push_back(std::move(added));
  };
  for (const std::string& text : arguments.plans) {
    add({text, ReadPlanSource(text, layer_count, target)});
  }
  if (!arguments.front.empty()) {
    for (const ScoredPlan& plan : ReadFront(arguments.front).plans) {
      add({plan.name, ReadPlanSource(fmt::format("{}:{}", arguments.front.string(), plan.name),
                                     layer_count, target)});
    }
  }
  if (arguments.uniform == UniformPlans::kAll) {
    for (const PrecisionPair pair : target.pairs) {
      add({PairLabel(pair), target.shape.Uniform(pair, layer_count)});
    }
  }
  return plans;
}

std::vector<ScoredPlan> Score(std::span<const NamedPlan> named, EvaluationCache& evaluator,
                              const CostFunction& cost) {
  std::vector<PrecisionPlan> plans;
  for (const NamedPlan& plan : named) plans.push_back(plan.plan);
  const std::vector<PlanScore> scores = evaluator.Evaluate(plans);
  std::vector<ScoredPlan> scored;
  for (size_t i = 0; i < named.size(); ++i) {
    scored.push_back({.name = named[i].name,
                      .plan = plans[i],
                      .cost = cost(plans[i]),
                      .calibration = scores[i]});
  }
  return scored;
}

void Print(const std::vector<ScoredPlan>& scored, ModelSession& model, double noise_floor,
           OutputFormat format) {
  const Target& target = model.target();
  if (format == OutputFormat::kText) {
    return PrintText(PlanTable(scored, TerminalWidth()) + PaddingSentence(scored, target.name) +
                     KernelSentence(scored, target));
  }
  Json document = NewDocument();
  document["noise_floor"] = noise_floor;
  document["plans"] = Json::array();
  for (const ScoredPlan& plan : scored) document["plans"].push_back(ToJson(plan));
  AddPeakMemory(document, model.model().peak_device_bytes());
  PrintJson(document);
}

// A PLAN object for a plan, an array of them for an array, scored together; {"error": "..."} for a
// line that cannot be scored.
Json AnswerLine(const std::string& line, const std::string& source, const ModelSession& model,
                EvaluationCache& evaluator) {
  try {
    const PlanLine asked = ParsePlanLine(line, source, model.layer_count(), model.target());
    Json answers = Json::array();
    for (const ScoredPlan& plan : Score(asked.plans, evaluator, model.cost())) {
      answers.push_back(ToJson(plan));
    }
    return asked.is_array ? answers : answers.front();
  } catch (const Error& error) {
    return {{"error", error.what()}};
  }
}

// One line at a time, so that another program can ask, read the answer and ask again.
void AnswerLines(LineReader input, ModelSession& model, EvaluationCache& evaluator) {
  std::string line;
  for (int64_t number = 1; input.Next(line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string source = fmt::format("standard input, line {}", number);
    // An error may quote bytes that are not UTF-8; the answer has to be JSON all the same.
    PrintExact(AnswerLine(line, source, model, evaluator)
                   .dump(-1, ' ', false, Json::error_handler_t::replace) +
               "\n");
  }
  model.RequireUnchanged();
}

void CheckArguments(const EvaluateArguments& arguments) {
  const bool has_plans = !arguments.plans.empty() || !arguments.front.empty() ||
                         arguments.uniform == UniformPlans::kAll;
  if (has_plans == arguments.read_stdin) {
    throw Error(fmt::format("kvtune evaluate: found {}, expected plans (--plan, --uniform all, "
                            "--front) or --stdin",
                            has_plans ? "both" : "neither"),
                ExitCode::kUsage);
  }
}

// Before the model is loaded: mistyped plans are found at once.
std::vector<NamedPlan> ReadPlans(const EvaluateArguments& arguments) {
  const ModelConfig config = ReadConfigOf(arguments.inputs.model);
  return PlansOf(arguments, static_cast<size_t>(config.layer_count()),
                 TargetOf(arguments.inputs, config));
}

}  // namespace

ExitCode RunEvaluate(const EvaluateArguments& arguments, const Invocation& invocation) {
  CheckArguments(arguments);
  const bool has_task = !arguments.task.file.empty();
  if (has_task) CheckTaskArguments(arguments);
  const auto other_devices = StartDevices(arguments.inputs, invocation);
  if (ServesAnotherProcess(arguments.inputs)) return ExitCode::kOk;
  const std::vector<NamedPlan> plans = ReadPlans(arguments);
  if (has_task) return EvaluateTask(arguments, plans, invocation);
  ModelSession model(arguments.inputs, "none", SharedRunnerLoader());
  ModelEvaluator scorer(model.model(), model.prompts().calibration.prompts);
  EvaluationCache evaluator(scorer);
  if (!arguments.known_scores.empty()) {
    AddKnownScores(evaluator, arguments.known_scores, model.run(), scorer.prompt_count());
  }
  const double noise_floor = model.MeasureNoiseFloor();
  if (arguments.read_stdin) {
    AnswerLines(LineReader::StandardInput(), model, evaluator);
  } else {
    const std::vector<ScoredPlan> scored = Score(plans, evaluator, model.cost());
    model.RequireUnchanged();
    Print(scored, model, noise_floor, invocation.format);
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
