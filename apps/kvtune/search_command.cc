// kvtune search: the whole chain in one run directory.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/decode_times.h"
#include "apps/kvtune/interrupt.h"
#include "apps/kvtune/open_model.h"
#include "apps/kvtune/output.h"
#include "apps/kvtune/print_summary.h"
#include "apps/kvtune/search_models.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/printable.h"
#include "lib/base/progress.h"
#include "lib/io/model_directory.h"
#include "lib/report/budget_text.h"
#include "lib/report/front_table.h"
#include "lib/report/text_table.h"
#include "lib/run/item_evaluator.h"
#include "lib/run/plan_budget.h"
#include "lib/run/search_step.h"
#include "lib/run/stages.h"
#include "lib/run/task_step.h"

namespace kvtune {
namespace {

// Before anything is made, so that a refused directory stays as it was.
void RequireSameOptions(const RunSession& session, const ModelSession& model,
                        const SearchArguments& arguments, const SplitTask* task) {
  session.RequireSameOptions(Stage::kCalibrate, OptionsOf(arguments.calibrate));
  session.RequireSameOptions(Stage::kPrune, OptionsOf(arguments.prune));
  session.RequireSameOptions(Stage::kCluster, OptionsOf(arguments.cluster));
  session.RequireSameOptions(Stage::kSearch, OptionsOf(arguments.search, model.prompts(), task));
}

// The items of the task: all are to test on where plans are searched by their losses.
ItemSplit ItemsOf(const PreparedTask& task, const SearchArguments& arguments) {
  const size_t count = task.task().items.size();
  if (arguments.search.by == SearchBy::kAccuracy) {
    return SplitItems(count, arguments.search.search_items, arguments.inputs.seed);
  }
  ItemSplit items;
  for (size_t item = 0; item < count; ++item) items.test.push_back(item);
  return items;
}

void PrintFront(const SearchOutcome& outcome, const Diagnosis& diagnosis, const RunSession& session,
                OutputFormat format) {
  if (format == OutputFormat::kJson) {
    Json document = ToJson(outcome.front);
    AddPeakMemory(document, outcome.peak_device_bytes);
    return PrintJson(document);
  }
  LogDetail(SearchSentences(outcome.front));
  PrintSummary(session.directory().root(), diagnosis);
}

// The plan with the least loss among those that fit.
void PrintFitting(const ParetoFront& front, const MemoryBudget& budget,
                  const std::filesystem::path& run) {
  PickConstraints constraints;
  constraints.max_bytes = budget.most_bytes_per_token();
  const size_t width = TerminalWidth();
  try {
    const PickedPlan picked = PickPlan(front, constraints);
    PrintText(
        WrappedText(FitText(budget, picked.plan, front.reference) +
                        fmt::format("Next, for this memory: kvtune pareto export {} --plan {}\n",
                                    ShellWord(run.string()), ShellWord(picked.plan.name)),
                    width));
  } catch (const Error& error) {  // none fits, which is a result too
    PrintText(WrappedText(
        BudgetText(budget, front.reference.cost.bytes_per_token) + "No measured plan fits.\n",
        width));
  }
}

// The table of times where the search is by time too; what the stages need of it goes into their
// options.
std::optional<TableForSearch> AddTimes(SearchArguments& arguments,
                                       const std::filesystem::path& run) {
  if (!arguments.search.by_time.wanted) return std::nullopt;
  const DescribedModel model{.directory = arguments.inputs.model,
                             .config = ReadConfigOf(arguments.inputs.model)};
  const Target target = TargetOf(arguments.inputs, model.config);
  TableForSearch times = TableOf(arguments, model, target.pairs, run);
  arguments.search.latency = LatencyForSearch(times.table, arguments.search.by_time.setting,
                                              model.config, target.pairs, times.file.string());
  arguments.prune.latency = arguments.search.latency;
  const LatencySource& source = arguments.search.latency->source;
  LogInfo(fmt::format("search: by time too, of decode steps of batch {} and {} tokens on {}",
                      source.setting.batch, source.setting.context_tokens,
                      PrintableLine(source.device)));
  return times;
}

}  // namespace

ExitCode RunSearch(const SearchArguments& given, const Invocation& invocation) {
  if (!given.models.empty()) {
    const std::optional<SearchArguments> listed = ArgumentsOfListedModel(given);
    return listed ? RunSearch(*listed, invocation) : SearchModels(given, invocation);
  }
  SearchArguments arguments = given;
  CheckSearchBy(arguments.search, !arguments.task.file.empty());
  const auto other_devices = StartDevices(arguments.inputs, invocation);
  if (ServesAnotherProcess(arguments.inputs)) return ExitCode::kOk;
  const std::filesystem::path out = RunDirectoryOf(arguments.place, arguments.inputs);
  std::vector<std::filesystem::path> read = InputPathsOf(arguments.inputs, arguments.place);
  if (!arguments.search.known_scores.empty()) read.push_back(arguments.search.known_scores);
  if (!arguments.search.by_time.file.empty()) read.push_back(arguments.search.by_time.file);
  if (!arguments.task.file.empty()) read.push_back(arguments.task.file);
  RequireCreatableDirectory(out);
  RequireOwnDirectory(out, read);
  std::optional<MemoryBudget> budget;
  if (arguments.memory.is_asked_for()) {
    budget = BudgetForModel(arguments.memory, arguments.inputs.model, arguments.inputs.context);
  }
  std::optional<PreparedTask> task;
  std::optional<SplitTask> split;
  if (!arguments.task.file.empty()) {
    task.emplace(arguments.task, arguments.inputs.model, ReadConfigOf(arguments.inputs.model));
    task->RequireThatPlansAreRead(arguments.inputs.running.prefill);
    split.emplace(SplitTask{*task, ItemsOf(*task, arguments)});
  }
  const std::optional<TableForSearch> times = AddTimes(arguments, out);
  auto progress = std::make_unique<RunProgress>("loading the model");
  ModelSession model(arguments.inputs, arguments.place.held_out, SharedRunnerLoader());
  if (task) {
    task->RequireApartFrom(model.prompts().calibration.prompts, "calibration");
    task->RequireApartFrom(model.prompts().held_out, "held-out");
  }
  RunSession session(out, model.run(), invocation.command_line);
  const SplitTask* searched_task = arguments.search.by == SearchBy::kAccuracy ? &*split : nullptr;
  RequireSameOptions(session, model, arguments, searched_task);
  if (times && times->is_measured) WriteJsonFileAtomically(times->file, ToJson(times->table));

  const std::string warning = ShortPromptsWarning(model.prompts(), session.run().context);
  if (!warning.empty()) LogWarning(warning);

  RunProgress::SetStage("calibrating");
  RunProgress::SetWorkLeft(EstimatedWork(session, model, arguments.search).total());
  const SensitivityTable table = CalibrateStep(session, model, arguments.calibrate);
  const Diagnosis diagnosis = DiagnoseStep(session, table);
  PruneStep(session, arguments.prune);
  ClusterStep(session, arguments.cluster);
  const SearchOutcome outcome = [&] {
    const InterruptDelay delay;  // what is scored when a signal comes is kept
    SearchOutcome searched =
        SearchStep(session, model, arguments.search, InterruptRequested, searched_task);
    if (task && !searched.unfinished) {
      RunProgress::SetStage("answering the task");
      if (!TaskStep(session, model, *split, searched.front, InterruptRequested))
        searched.unfinished = searched.interrupted = true;
    }
    return searched;
  }();
  progress.reset();  // its line makes room for the result
  PrintFront(outcome, diagnosis, session, invocation.format);
  if (budget && invocation.format == OutputFormat::kText) PrintFitting(outcome.front, *budget, out);
  if (!outcome.unfinished) return ExitCode::kOk;
  if (!outcome.interrupted) {
    LogInfo("--max-seconds are over; the same command goes on from here");
    return ExitCode::kOk;
  }
  LogWarning(fmt::format("stopped: {} holds the front so far; the same command goes on from here",
                         session.directory().root().string()));
  return ExitCode::kInterrupted;
}

}  // namespace kvtune
