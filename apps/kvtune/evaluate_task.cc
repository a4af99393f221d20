#include "apps/kvtune/evaluate_task.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "apps/kvtune/interrupt.h"
#include "apps/kvtune/open_model.h"
#include "apps/kvtune/output.h"
#include "lib/base/line_reader.h"
#include "lib/base/log.h"
#include "lib/calib/model_evaluator.h"
#include "lib/io/model_directory.h"
#include "lib/report/accuracy_table.h"
#include "lib/report/text_table.h"
#include "lib/run/model_session.h"
#include "lib/run/result_file.h"
#include "lib/run/sample_log.h"
#include "lib/run/task_scorer.h"

namespace kvtune {
namespace {

// The plans of one question with their accuracy, and the exact plan that they are compared with.
struct Answered {
  std::vector<ScoredPlan> plans;
  ScoredPlan exact;
  std::vector<SampleLine> lines;
};

class TaskEvaluation {
 public:
  TaskEvaluation(const EvaluateArguments& arguments, const PreparedTask& task, ModelSession& model)
      : task_(task), model_(model), scores_prompts_(!arguments.inputs.prompts.files.empty()) {
    if (!arguments.samples.empty())
      log_.emplace(arguments.samples, EvaluationHash(task, model.run()));
    scorer_.emplace(model.model(), task, log_ ? &*log_ : nullptr);
  }

  // Returns nullopt when the user stopped it.
  std::optional<Answered> Answer(const std::vector<NamedPlan>& named) {
    const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, model_.layer_count());
    std::vector<PrecisionPlan> plans = {exact};
    for (const NamedPlan& plan : named) plans.push_back(plan.plan);
    std::optional<std::vector<std::vector<ItemResult>>> results;
    {
      const InterruptDelay delay;  // what is finished when a signal comes is kept
      results = scorer_->Score(plans, InterruptRequested);
    }
    if (!results) return std::nullopt;
    const std::vector<PlanScore> losses = LossesOf(plans);
    Answered answered;
    for (size_t i = 0; i < plans.size(); ++i) {
      ScoredPlan scored{.name = i == 0 ? "exact" : named[i - 1].name,
                        .plan = plans[i],
                        .cost = model_.cost()(plans[i]),
                        .calibration = losses[i]};
      scored.accuracy = SummarizeAccuracy(task_.task(), (*results)[i], results->front());
      if (i > 0 || std::ranges::find(plans.begin() + 1, plans.end(), exact) == plans.end()) {
        const auto lines = scorer_->LinesOf(scored.name, plans[i], (*results)[i]);
        answered.lines.insert(answered.lines.end(), lines.begin(), lines.end());
      }
      if (i == 0) {
        answered.exact = std::move(scored);
      } else {
        answered.plans.push_back(std::move(scored));
      }
    }
    return answered;
  }

  void Keep(const std::vector<SampleLine>& lines) {
    if (log_) log_->Finish(lines);
  }

 private:
  // The losses on --prompts; empty scores where the user named none.
  std::vector<PlanScore> LossesOf(std::span<const PrecisionPlan> plans) {
    if (!scores_prompts_) return std::vector<PlanScore>(plans.size());
    ModelEvaluator evaluator(model_.model(), model_.prompts().calibration.prompts);
    return evaluator.Evaluate(plans);
  }

  const PreparedTask& task_;
  ModelSession& model_;
  bool scores_prompts_;
  std::optional<SampleLog> log_;
  std::optional<TaskScorer> scorer_;
};

Json TaskJson(const PreparedTask& prepared, const Provenance& run) {
  const Task& task = prepared.task();
  Json json = {{"name", task.name},
               {"protocol", WordOf(kProtocolWords, task.protocol)},
               {"items", task.items.size()},
               {"fewshot", task.fewshot},
               {"max_new_tokens", task.is_multiple_choice() ? 0 : task.max_new_tokens},
               {"prefill", run.prefill},
               {"hash", prepared.hash()}};
  return json;
}

void Print(const Answered& answered, const PreparedTask& task, ModelSession& model,
           OutputFormat format) {
  if (format == OutputFormat::kText) {
    const size_t width = TerminalWidth();
    return PrintText(AccuracyTable(answered.plans, width) +
                     WrappedText(AccuracySentences(answered.plans, answered.exact), width));
  }
  Json document = NewDocument();
  document["task"] = TaskJson(task, model.run());
  document["plans"] = Json::array();
  for (const ScoredPlan& plan : answered.plans) document["plans"].push_back(ToJson(plan));
  document["reference"] = ToJson(answered.exact);
  AddPeakMemory(document, model.model().peak_device_bytes());
  PrintJson(document);
}

// As kvtune evaluate --stdin, with an accuracy in each answer. Returns whether it came to the end.
bool AnswerLines(LineReader input, const ModelSession& model, TaskEvaluation& evaluation) {
  std::string text;
  std::vector<SampleLine> lines;
  for (int64_t number = 1; input.Next(text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json answer;
    try {
      const PlanLine asked = ParsePlanLine(text, fmt::format("standard input, line {}", number),
                                           model.layer_count(), model.target());
      const std::optional<Answered> answered = evaluation.Answer(asked.plans);
      if (!answered) return false;
      Json answers = Json::array();
      for (const ScoredPlan& plan : answered->plans) answers.push_back(ToJson(plan));
      lines.insert(lines.end(), answered->lines.begin(), answered->lines.end());
      answer = asked.is_array ? answers : answers.front();
    } catch (const Error& error) {
      answer = {{"error", error.what()}};
    }
    PrintExact(answer.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  evaluation.Keep(lines);
  return true;
}

void RequireSamplesApart(const EvaluateArguments& arguments, const Task& task,
                         std::vector<std::filesystem::path> inputs) {
  inputs.insert(inputs.end(), task.files.begin(), task.files.end());
  const auto& prompts = arguments.inputs.prompts.files;
  inputs.insert(inputs.end(), prompts.begin(), prompts.end());
  inputs.insert(inputs.end(), arguments.plans.begin(), arguments.plans.end());
  RequireResultFile(arguments.samples, "--samples", inputs);
}

}  // namespace

void CheckTaskArguments(const EvaluateArguments& arguments) {
  if (!arguments.known_scores.empty()) {
    throw Error("kvtune evaluate: found both --task and --known-scores, expected one of them",
                ExitCode::kUsage);
  }
}

ExitCode EvaluateTask(const EvaluateArguments& arguments, const std::vector<NamedPlan>& plans,
                      const Invocation& invocation) {
  const PreparedTask task(arguments.task, arguments.inputs.model,
                          ReadConfigOf(arguments.inputs.model));
  RequireSamplesApart(arguments, task.task(), invocation.options_files);
  task.RequireThatPlansAreRead(arguments.inputs.running.prefill);
  ModelSession model(arguments.inputs, "none", SharedRunnerLoader());
  task.RequireApartFrom(model.prompts().calibration.prompts, "calibration");
  TaskEvaluation evaluation(arguments, task, model);
  if (arguments.read_stdin) {
    if (!AnswerLines(LineReader::StandardInput(), model, evaluation)) return ExitCode::kInterrupted;
    model.RequireUnchanged();
    return ExitCode::kOk;
  }
  const std::optional<Answered> answered = evaluation.Answer(plans);
  if (!answered) return ExitCode::kInterrupted;
  model.RequireUnchanged();
  evaluation.Keep(answered->lines);
  Print(*answered, task, model, invocation.format);
  return ExitCode::kOk;
}

}  // namespace kvtune
