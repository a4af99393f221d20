#include "lib/run/search_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/base/progress.h"
#include "lib/base/quantity.h"
#include "lib/run/held_out.h"
#include "lib/run/logged_scores.h"
#include "lib/run/sample_log.h"
#include "lib/run/scouting_prompts.h"
#include "lib/run/stages.h"
#include "lib/run/task_scorer.h"
#include "search/additive_plans.h"
#include "search/scouting.h"
#include "search/search.h"
#include "search/surrogate.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

std::string StageText(const GenerationReport& report, const SearchOptions& options) {
  switch (report.stage) {
    case SearchStage::kUniformPlans:
      return "uniform plans";
    case SearchStage::kGroupedSearch:
      return fmt::format("generation {} of {}", report.generation, options.generations);
    case SearchStage::kRefinement:
      return fmt::format("refinement round {}", report.generation);
  }
  return "";
}

// The line of the run shows the same on a terminal, so the sentence is for pipes there.
void ReportGeneration(const GenerationReport& report, const SearchStepOptions& step,
                      const SearchWork& work) {
  const std::string text = fmt::format("search: {}, {} plans scored ({} repeated), front of {}",
                                       StageText(report, step.search), report.distinct_plans,
                                       report.repeated_plans, report.front_size);
  if (CurrentLogLevel() == LogLevel::kVerbose) {
    LogDetail(fmt::format("{}, hypervolume {:.5g}", text, report.hypervolume));
  } else if (!RunProgress::IsShown()) {
    LogInfo(text);
  }
  RunProgress::SetStage(
      fmt::format("{}, {} plans", StageText(report, step.search), report.distinct_plans));
  RunProgress::SetWorkLeft(WorkLeftAfter(report, step, work));
}

// As the stage runs it, with the run's seed.
SearchOptions SearchOptionsOf(const SearchStepOptions& step, uint64_t run_seed) {
  SearchOptions options = step.search;
  options.seed = step.search_seed.value_or(run_seed);
  // A small space is scored whole only when that costs no more than what was asked for.
  options.enumerate_up_to =
      std::min(options.enumerate_up_to, int64_t{options.population} * int64_t{options.generations});
  if (step.by == SearchBy::kAccuracy && options.racing) {
    // Few items flip, so that the confidence of losses would let no plan stop before the end.
    options.racing = RacingOptions{.confidence = 0.99, .losses = LossKind::kVerdicts};
  }
  // The paper's loop answers every item under every plan.
  if (options.algorithm == Algorithm::kPaper) options.racing.reset();
  return options;
}

// Whether `seconds` from now are over; nothing for 0, which is no limit.
std::function<bool()> TimeLimit(double seconds) {
  if (seconds <= 0) return nullptr;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  return [end] { return std::chrono::steady_clock::now() >= end; };
}

LayerLosses ScoutLayerLosses(const RunSession& session, ModelSession& model,
                             const fs::path& known_scores,
                             const std::function<bool()>& should_stop) {
  const std::vector<TokenIds> prompts = ScoutingPrompts(model.prompts().calibration.prompts);
  LoggedScores scores(session.directory().scouting(), model.model(), prompts, model.cost());
  const fs::path known_scouting = RunDirectory(known_scores.parent_path()).scouting();
  if (!known_scores.empty() && fs::exists(known_scouting)) {
    AddKnownScores(scores.cache(), known_scouting, session.run(), prompts.size());
  }
  const SensitivityTable table = ReadSensitivity(session);
  LogInfo(fmt::format("search: scouting single layers on {} prompts", prompts.size()));
  RunProgress::SetStage("scouting single layers");
  return MeasureLayerLosses(table, scores.cache(), should_stop);
}

// The costs that plans are searched by, with their times in a search by time.
CostFunction SearchCost(const ModelSession& model, const SearchStepOptions& step) {
  return step.latency ? WithLatency(model.cost(), *step.latency) : model.cost();
}

SearchProblem ProblemOf(const RunSession& session, const ModelSession& model,
                        const SearchStepOptions& step) {
  return {.groups = LayerGroupsFromJson(session.Read(Stage::kCluster),
                                        session.directory().groups().string()),
          .shape = model.target().shape,
          .uniform_pairs = model.target().pairs,
          .cost = SearchCost(model, step),
          .sensitivities = SensitivityLosses(ReadSensitivity(session))};
}

// Whether the search is to end, by its user or by its time. REQUIRES: the hooks outlive the result.
std::function<bool()> EndOf(const SearchHooks& hooks) {
  return [&hooks] { return hooks.should_stop() || (hooks.out_of_time && hooks.out_of_time()); };
}

// Searches by the answers to the task's items. Every answer is in the run's log of answers before
// it is used, so that an interrupted search goes on from there. There is no surrogate, because it
// predicts losses; what single layers lose on prompts, which is cheap, seeds the first generation.
SearchResult SearchByAnswers(const RunSession& session, ModelSession& model, const SplitTask& task,
                             const SearchStepOptions& step, const SearchWork& work,
                             const std::function<bool()>& should_stop) {
  session.Save();  // it has to say whose answers they are before the first is logged
  SampleLog log(session.directory().answers(), EvaluationHash(task.task, session.run()));
  TaskScorer scorer(model.model(), task.task, &log);
  ItemEvaluator evaluator(scorer, task.items.search, model.layer_count());
  EvaluationCache scores(evaluator);
  const SearchOptions options = SearchOptionsOf(step, session.run().seed);
  const SearchHooks hooks{
      .progress = [&](const GenerationReport& report) { ReportGeneration(report, step, work); },
      .should_stop = should_stop,
      .out_of_time = TimeLimit(step.max_seconds)};
  SearchProblem problem = ProblemOf(session, model, step);
  const bool is_seeded =
      options.algorithm == Algorithm::kNsga2 || options.algorithm == Algorithm::kMoead;
  if (is_seeded && problem.shape.kind != ShapeKind::kOnePair) {
    problem.seed_plans = SeedPlans(problem, ScoutLayerLosses(session, model, {}, EndOf(hooks)),
                                   static_cast<size_t>(options.population) / 2);
  }
  SearchResult result = Search(problem, scores, options, hooks);
  result.summary.answers =
      AnswerSearch{.search_items = std::ssize(task.items.search),
                   .test_items = std::ssize(task.items.test),
                   .generated_tokens = evaluator.generated_tokens(),
                   .searched = {task.items.search.begin(), task.items.search.end()}};
  std::ranges::sort(result.summary.answers->searched);
  LogInfo(fmt::format("search: {}; {} tokens generated for {} items", result.summary.stop_reason,
                      evaluator.generated_tokens(), task.items.search.size()));
  return result;
}

// Puts the losses on the calibration prompts in place of the scores that only the search by answers
// needs.
void ScoreLosses(const RunSession& session, ModelSession& model, const SearchStepOptions& step,
                 ParetoFront& front) {
  RunProgress::SetStage("scoring the plans on prompts");
  LoggedScores scores(session.directory().evaluations(), model.model(),
                      model.prompts().calibration.prompts, SearchCost(model, step));
  std::vector<PrecisionPlan> plans;
  for (const ScoredPlan* plan : AllPlans(front)) plans.push_back(plan->plan);
  const std::vector<PlanScore> losses = scores.cache().Evaluate(plans);
  size_t next = 0;
  for (ScoredPlan* plan : AllPlans(front)) plan->calibration = losses[next++];
}

// Searches on from what the log holds.
SearchResult SearchFromLog(const RunSession& session, ModelSession& model,
                           const SearchStepOptions& step, const SearchWork& work,
                           const std::function<bool()>& should_stop) {
  const fs::path file = session.directory().evaluations();
  const std::vector<TokenIds>& prompts = model.prompts().calibration.prompts;
  const CostFunction cost = SearchCost(model, step);
  // run.json has to say whose scores they are before the first is logged.
  LoggedScores scores(file, model.model(), prompts, cost, [&session] { session.Save(); });
  if (scores.logged() > 0) {
    LogInfo(
        fmt::format("search: {} scored plans are known from {}", scores.logged(), file.string()));
  }
  if (!step.known_scores.empty()) {
    AddKnownScores(scores.cache(), step.known_scores, session.run(), prompts.size());
  }
  const SearchOptions options = SearchOptionsOf(step, session.run().seed);
  SearchHooks hooks{
      .progress = [&](const GenerationReport& report) { ReportGeneration(report, step, work); },
      .should_stop = should_stop,
      .out_of_time = TimeLimit(step.max_seconds)};
  hooks.scout = [&] { return ScoutLayerLosses(session, model, step.known_scores, EndOf(hooks)); };
  const SearchProblem problem = ProblemOf(session, model, step);
  SearchResult result = Search(problem, scores.cache(), options, hooks);
  LogInfo("search: " + result.summary.stop_reason);
  return result;
}

// The plans of the grouped space where the shape lets them be counted; 0: not known.
int64_t SpaceOf(const LayerGroups& groups, const Target& target) {
  constexpr int64_t kMany = int64_t{1} << 40;
  if (target.shape.kind == ShapeKind::kOnePair) return std::ssize(target.pairs);
  if (target.shape.kind != ShapeKind::kAnyPair) return 0;
  int64_t space = 1;
  for (const LayerGroup& group : groups.groups) {
    space *= std::max<int64_t>(std::ssize(group.candidates), 1);
    if (space > kMany) return kMany;
  }
  return space;
}

int64_t TokensOf(const std::vector<TokenIds>& prompts) {
  int64_t tokens = 0;
  for (const TokenIds& prompt : prompts) tokens += std::ssize(prompt);
  return tokens;
}

SearchSize SizeOfSearch(const ModelSession& model, int64_t space) {
  const std::vector<TokenIds>& prompts = model.prompts().calibration.prompts;
  const bool scouts = model.target().shape.kind != ShapeKind::kOnePair;
  return {.layers = model.layer_count(),
          .pairs = model.target().pairs.size(),
          .scouted_plans = scouts ? ScoutedPlanCount(model.layer_count(), model.target().pairs) : 0,
          .prompts = prompts.size(),
          .held_out_prompts = model.prompts().held_out.size(),
          .scouted_share = static_cast<double>(TokensOf(ScoutingPrompts(prompts))) /
                           static_cast<double>(TokensOf(prompts)),
          .space = space};
}

// Measures the noise floor and says what the passes of the exact model that it takes tell about the
// time of the whole search.
double MeasureNoiseFloorAndTime(const RunSession& session, ModelSession& model,
                                const SearchStepOptions& step, const SearchSize& size,
                                int64_t max_tokens) {
  RunProgress::SetStage("measuring the noise floor");
  const auto start = std::chrono::steady_clock::now();
  const double floor = model.MeasureNoiseFloor();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double per_score = kScorePerNoiseFloor * seconds / static_cast<double>(size.prompts);
  const bool resumes = std::filesystem::exists(session.directory().evaluations());
  // What answers take is not known before the first.
  if (!resumes && step.by == SearchBy::kLoss)
    LogInfo(DurationText(step, size, per_score, max_tokens));
  return floor;
}

std::string HashOfPrompts(const std::vector<TokenIds>& prompts) {
  PromptSet set;
  set.prompts = prompts;
  CountAndHash(set);
  return set.hash;
}

}  // namespace

void CheckSearchBy(const SearchStepOptions& options, bool has_task) {
  const auto refuse = [](const char* found_and_expected) {
    throw Error(fmt::format("kvtune search: {}", found_and_expected), ExitCode::kUsage);
  };
  const bool by_accuracy = options.by == SearchBy::kAccuracy;
  if (by_accuracy && !has_task)
    refuse("found --objective accuracy without a task, expected --task FILE");
  if (!by_accuracy && options.search_items > 0)
    refuse("found --search-items without --objective accuracy, expected both");
  if (!by_accuracy && options.search.algorithm == Algorithm::kPaper)
    refuse("found --algorithm paper without --objective accuracy, expected both");
  if (by_accuracy && options.search.algorithm == Algorithm::kIlp)
    refuse("found --algorithm ilp with --objective accuracy, expected one that reads answers");
  if (by_accuracy && !options.known_scores.empty())
    refuse("found both --known-scores and --objective accuracy, expected one of them");
  const Algorithm algorithm = options.search.algorithm;
  if (options.by_time.wanted && (algorithm == Algorithm::kGreedy || algorithm == Algorithm::kPaper))
    refuse(
        "found --objective-latency with an --algorithm of two objectives, expected nsga2, moead, "
        "random or ilp");
}

Json OptionsOf(const SearchStepOptions& step, const RunPrompts& prompts, const SplitTask* task) {
  const SearchOptions& search = step.search;
  Json options = {{"--algorithm", WordOf(kAlgorithmWords, search.algorithm)},
                  {"--population", search.population},
                  {"--generations", search.generations},
                  {"--exact", search.exact},
                  {"--max-evaluations", search.max_evaluations},
                  {"--stall-generations", search.stall_generations},
                  {"--no-racing", !search.racing.has_value()},
                  {"--search-seed", nullptr},
                  {"--known-scores", nullptr},
                  {"--refine-evaluations", search.refinement_evaluations},
                  {"--held-out", prompts.held_out_source},
                  {"--held-out (content)", HashOfPrompts(prompts.held_out)}};
  if (step.search_seed) options["--search-seed"] = *step.search_seed;
  if (!step.known_scores.empty()) {
    options["--known-scores"] = HashOf(ReadFile(step.known_scores));
  }
  if (step.by == SearchBy::kAccuracy) {
    options["--objective"] = WordOf(kSearchByWords, step.by);
    options["--search-items"] = task->items.search.size();
    options["--task (content)"] = task->task.verdict_hash();
  }
  if (step.latency) AddLatencyOptions(options, *step.latency);
  return options;
}

SearchWork EstimatedWork(const RunSession& session, const ModelSession& model,
                         const SearchStepOptions& options) {
  SearchWork work = WorkOf(options, SizeOfSearch(model, 0));
  std::error_code ignored;
  if (fs::exists(session.FileOf(Stage::kCalibrate), ignored)) work.calibration = 0;
  return work;
}

SearchOutcome SearchStep(RunSession& session, ModelSession& model, const SearchStepOptions& step,
                         const std::function<bool()>& should_stop, const SplitTask* task) {
  const Json options = OptionsOf(step, model.prompts(), task);
  const fs::path file = session.directory().front();
  session.RequireSameOptions(Stage::kSearch, options);
  if (session.CanReuse(Stage::kSearch, options)) {
    LogInfo(fmt::format("search: reusing {}", file.string()));
    return {.front = ParetoFrontFromJson(session.Read(Stage::kSearch), file.string())};
  }
  session.Start(Stage::kSearch, options);
  Provenance run = session.run();
  const LayerGroups groups =
      LayerGroupsFromJson(session.Read(Stage::kCluster), session.directory().groups().string());
  SearchSize size = SizeOfSearch(model, SpaceOf(groups, model.target()));
  // Not asked by SizeOfSearch, which is called before the weights are loaded too.
  size.is_streamed = model.model().streams_weights();
  const SearchWork work = WorkOf(step, size);
  RunProgress::SetWorkLeft(work.after_calibration());
  run.noise_floor = MeasureNoiseFloorAndTime(session, model, step, size, run.token_count);
  RunProgress::SetStage("scoring uniform plans");
  const bool by_answers = step.by == SearchBy::kAccuracy;
  SearchResult result = by_answers ? SearchByAnswers(session, model, *task, step, work, should_stop)
                                   : SearchFromLog(session, model, step, work, should_stop);
  SearchOutcome outcome{.front = {.run = std::move(run),
                                  .plans = std::move(result.front),
                                  .uniform = std::move(result.uniform),
                                  .reference = std::move(result.reference),
                                  .near = std::move(result.near),
                                  .search = std::move(result.summary)},
                        .interrupted = result.interrupted,
                        .unfinished = result.interrupted || result.out_of_time};
  if (step.latency) outcome.front.latency = step.latency->source;
  if (by_answers) ScoreLosses(session, model, step, outcome.front);
  AddCalibrationIntervals(outcome.front);
  if (!outcome.interrupted) {
    RunProgress::SetStage("held-out prompts");
    LoggedScores held_out(session.directory().held_out(), model.model(), model.prompts().held_out,
                          SearchCost(model, step));
    if (!AddHeldOutScores(outcome.front, held_out.cache(), should_stop)) {
      outcome.interrupted = outcome.unfinished = true;
    }
  }
  model.RequireUnchanged();
  WriteJsonFileAtomically(file, ToJson(outcome.front));
  const int64_t peak = outcome.peak_device_bytes = model.model().peak_device_bytes();
  if (peak > 0) {
    LogInfo(fmt::format("peak memory on {}: {}", session.run().device,
                        SizeText(static_cast<double>(peak))));
  }
  if (!outcome.unfinished) session.Finish(Stage::kSearch, peak);
  return outcome;
}

}  // namespace kvtune
