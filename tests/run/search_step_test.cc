#include "lib/run/search_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/plan_source.h"
#include "lib/run/scouting_prompts.h"
#include "lib/run/stages.h"
#include "tests/support/search_runs.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::ThrowsMessage;

TEST(SearchStep, SaysHowMuchOfADevicesMemoryItTook) {
  SearchRuns runs;
  EXPECT_EQ(runs.Search("cpu").peak_device_bytes, 0);
  runs.fake.script.peak_device_bytes = int64_t{17} << 30;
  EXPECT_EQ(runs.Search("gpu").peak_device_bytes, int64_t{17} << 30);
  const Json run = ReadJsonFile(runs.fake / "gpu" / "run.json");
  EXPECT_EQ(run["stages"]["search"]["peak_device_bytes"], int64_t{17} << 30);
  EXPECT_EQ(runs.TextOf("gpu", "front.json"), runs.TextOf("cpu", "front.json"));
}

TEST(SearchStep, LeavesTheFrontOfACompleteRun) {
  SearchRuns runs;
  const SearchOutcome outcome = runs.Search("run");
  EXPECT_FALSE(outcome.interrupted);
  EXPECT_FALSE(outcome.unfinished);
  const ParetoFront& front = outcome.front;
  EXPECT_EQ(runs.TextOf("run", "front.json"), DumpJson(ToJson(front)));
  EXPECT_TRUE(runs.Finished("run"));
  EXPECT_EQ(front.run.noise_floor, 1e-9);
  EXPECT_EQ(front.run.prompt_count, 12);
  EXPECT_GT(front.plans.size(), 5u);
  EXPECT_EQ(front.uniform.size(), 9u);
  for (const ScoredPlan& plan : front.plans) {
    ASSERT_TRUE(plan.held_out);
    EXPECT_EQ(plan.held_out->score.prompts, 4);
    EXPECT_EQ(plan.calibration.prompts, 12);
    ASSERT_TRUE(plan.calibration_interval);
    EXPECT_LE(plan.calibration_interval->low, plan.calibration.kl_mean);
    EXPECT_GE(plan.calibration_interval->high, plan.calibration.kl_mean);
  }
  EXPECT_FALSE(front.search->exhaustive);
  EXPECT_EQ(ReadEvaluationLog(runs.fake / "run" / "evaluations.jsonl", FakeRun::kLayers)
                .evaluations.size(),
            static_cast<size_t>(front.search->distinct_plans));
}

TEST(SearchStep, HypervolumesAreForWhoAsksForDetails) {
  const auto said_at = [](LogLevel level) {
    SearchRuns runs;
    SetLogLevel(level);
    ::testing::internal::CaptureStderr();
    runs.Search("run");
    SetLogLevel(LogLevel::kQuiet);
    return ::testing::internal::GetCapturedStderr();
  };
  const std::string said = said_at(LogLevel::kNormal);
  EXPECT_THAT(said, AllOf(HasSubstr("search: generation 1 of 4, "), Not(HasSubstr("hypervolume"))));
  // Nor is anything said of scores that are not there, or of the memory of no device.
  EXPECT_THAT(said, AllOf(Not(HasSubstr("are known from")), Not(HasSubstr("peak memory"))));
  EXPECT_THAT(said_at(LogLevel::kVerbose), HasSubstr(", hypervolume "));
}

// front.json has means only. The logs know the single prompts.
TEST(SearchStep, TheRunKnowsTheLossesByPrompt) {
  SearchRuns runs;
  const ParetoFront made = runs.Search("run").front;
  const ParetoFront read = ReadFrontByPrompt(runs.fake / "run");
  ASSERT_EQ(AllPlans(read).size(), AllPlans(made).size());
  for (size_t i = 0; i < AllPlans(read).size(); ++i) {
    const ScoredPlan& plan = *AllPlans(read)[i];
    const ScoredPlan& expected = *AllPlans(made)[i];
    ASSERT_TRUE(plan.held_out);
    ASSERT_EQ(plan.held_out->score.per_prompt.size(), 4u);
    for (size_t p = 0; p < 4; ++p) {
      EXPECT_EQ(plan.held_out->score.per_prompt[p].kl_sum,
                expected.held_out->score.per_prompt[p].kl_sum);
    }
    EXPECT_EQ(plan.calibration.per_prompt.size(), 12u) << plan.name;
  }
  fs::remove(runs.fake / "run" / "held_out.jsonl");
  EXPECT_THAT(ReadFrontByPrompt(runs.fake / "run").plans[0].held_out->score.per_prompt, IsEmpty());
}

// What the search reports comes from the model: its plans, scored by the formula.
TEST(SearchStep, FrontHasTheModelsLosses) {
  SearchRuns runs;
  const ParetoFront front = runs.Search("run").front;
  FakeModel model(FakeConfig(FakeRun::kLayers), runs.fake.script);
  const PromptSet all = LoadPrompts(runs.fake.inputs(), Checkpoint(runs.fake.model()).config());
  for (const ScoredPlan& plan : front.plans) {
    const auto scores =
        model.ScorePlans(std::span(&plan.plan, 1), std::span(all.prompts).first(12), nullptr);
    EXPECT_EQ(Summarize(scores.front()).kl_mean, plan.calibration.kl_mean) << plan.name;
  }
}

TEST(SearchStep, HeldOutPromptsAreNotPartOfTheSearch) {
  SearchRuns runs;
  runs.Search("run");
  std::set<TokenIds> held_out;
  std::vector<PrecisionPlan> on_held_out;
  const PromptSet all = LoadPrompts(runs.fake.inputs(), Checkpoint(runs.fake.model()).config());
  held_out.insert(all.prompts.begin() + 12, all.prompts.end());
  for (const FakeCall& call : runs.fake.script.CallsOf(FakeCallKind::kScore)) {
    for (const TokenIds& prompt : call.prompts) {
      if (held_out.contains(prompt)) {
        on_held_out = call.plans;
        EXPECT_EQ(call.prompts.size(), 4u);
      }
    }
  }
  EXPECT_FALSE(on_held_out.empty());
  // From the first call with held-out prompts on, there are no others.
  bool seen = false;
  for (const FakeCall& call : runs.fake.script.CallsOf(FakeCallKind::kScore)) {
    seen = seen || held_out.contains(call.prompts.front());
    EXPECT_EQ(held_out.contains(call.prompts.front()), seen);
  }
}

TEST(SearchStep, TheSameSeedGivesTheSameBytes) {
  SearchRuns runs;
  runs.Search("first");
  runs.Search("second");
  for (const char* file : {"front.json", "evaluations.jsonl", "scouting.jsonl", "held_out.jsonl"}) {
    EXPECT_EQ(runs.TextOf("first", file), runs.TextOf("second", file)) << file;
  }
  SearchStepOptions other = SmallSearch();
  other.search_seed = 5;
  runs.Search("third", other);
  EXPECT_NE(runs.TextOf("first", "evaluations.jsonl"), runs.TextOf("third", "evaluations.jsonl"));
}

TEST(SearchStep, AFinishedSearchIsReadAgainWithoutACallOfTheModel) {
  SearchRuns runs;
  runs.Search("run");
  runs.fake.script.calls.clear();
  const SearchOutcome again = runs.Search("run");
  EXPECT_THAT(runs.fake.script.calls, IsEmpty());
  EXPECT_FALSE(again.unfinished);
  EXPECT_EQ(DumpJson(ToJson(again.front)), runs.TextOf("run", "front.json"));
}

TEST(SearchStep, RefusesOtherOptionsNamingTheOption) {
  SearchRuns runs;
  runs.Search("run");
  SearchStepOptions other = SmallSearch();
  other.search.population = 12;
  EXPECT_THAT([&] { runs.Search("run", other); },
              ThrowsMessage<Error>(HasSubstr("--population: found 8 there, expected 12")));
  other = SmallSearch();
  other.search.racing.reset();
  EXPECT_THAT([&] { runs.Search("run", other); },
              ThrowsMessage<Error>(HasSubstr("--no-racing: found false there, expected true")));
}

TEST(SearchStep, OptionsThatTheSearchRefusesDoNotBindTheDirectory) {
  SearchRuns runs;
  SearchStepOptions bad = SmallSearch();
  bad.search.generations = 0;
  EXPECT_THAT([&] { runs.Search("run", bad); },
              ThrowsMessage<Error>(HasSubstr("found 0 generations")));
  EXPECT_NO_THROW(runs.Search("run"));
}

TEST(SearchStep, FromTheFirstScoreOnTheDirectoryIsBoundToItsOptions) {
  SearchRuns runs;
  runs.Search("run", SmallSearch(), [] { return true; });
  SearchStepOptions other = SmallSearch();
  other.search.generations = 5;
  EXPECT_THAT([&] { runs.Search("run", other); },
              ThrowsMessage<Error>(HasSubstr("--generations: found 4 there, expected 5")));
}

TEST(SearchStep, StoppedAnywhereItGoesOnToTheSameBytes) {
  SearchRuns runs;
  int polls = 0;
  runs.Search("whole", SmallSearch(), [&] { return ++polls == 0; });
  const std::vector<Asked> asked_by_whole = runs.AllAsked();
  ASSERT_GE(polls, 12) << "too few to stop at";
  for (int k = 1; k <= polls; ++k) {
    SCOPED_TRACE(k);
    const std::string name = "stopped" + std::to_string(k);
    runs.fake.script.calls.clear();
    int asked = 0;
    const SearchOutcome stopped = runs.Search(name, SmallSearch(), [&] { return ++asked >= k; });
    EXPECT_TRUE(stopped.interrupted);
    EXPECT_TRUE(stopped.unfinished);
    EXPECT_FALSE(runs.Finished(name));
    for (const ScoredPlan& plan : stopped.front.plans) EXPECT_FALSE(plan.held_out);
    // Even a search that is stopped early leaves the front of what it has.
    EXPECT_EQ(runs.TextOf(name, "front.json"), DumpJson(ToJson(stopped.front)));
    EXPECT_FALSE(runs.Search(name).unfinished);
    EXPECT_TRUE(runs.Finished(name));
    EXPECT_EQ(runs.TextOf(name, "front.json"), runs.TextOf("whole", "front.json"));
    EXPECT_EQ(runs.TextOf(name, "evaluations.jsonl"), runs.TextOf("whole", "evaluations.jsonl"));
    EXPECT_EQ(runs.TextOf(name, "held_out.jsonl"), runs.TextOf("whole", "held_out.jsonl"));
    // Nothing is scored twice.
    EXPECT_EQ(runs.AllAsked(), asked_by_whole);
  }
}

TEST(SearchStep, WithoutTimeItEndsAfterABatchAndMayBeGivenMore) {
  SearchRuns runs;
  runs.Search("whole");
  SearchStepOptions hurried = SmallSearch();
  hurried.max_seconds = 1e-9;
  const SearchOutcome outcome = runs.Search("hurried", hurried);
  EXPECT_FALSE(outcome.interrupted);
  EXPECT_TRUE(outcome.unfinished);
  EXPECT_THAT(outcome.front.search->stop_reason, HasSubstr("the time is over"));
  ASSERT_FALSE(outcome.front.plans.empty());
  EXPECT_TRUE(outcome.front.plans.front().held_out);
  EXPECT_FALSE(runs.Finished("hurried"));
  hurried.max_seconds = 3600;
  EXPECT_FALSE(runs.Search("hurried", hurried).unfinished);
  EXPECT_EQ(runs.TextOf("hurried", "front.json"), runs.TextOf("whole", "front.json"));
}

TEST(SearchStep, AnErrorOfTheModelLosesNothingThatWasScored) {
  SearchRuns runs;
  runs.Search("whole");
  const size_t calls = runs.fake.script.calls.size();
  const std::string whole_log = runs.TextOf("whole", "evaluations.jsonl");
  ASSERT_GE(calls, 12u);
  for (size_t n = 1; n <= calls; ++n) {
    SCOPED_TRACE(n);
    const std::string name = "failed" + std::to_string(n);
    runs.fake.script.calls.clear();
    runs.fake.script.error_in_call = n;
    EXPECT_THAT([&] { runs.Search(name); }, ThrowsMessage<Error>(HasSubstr("told to fail")));
    runs.fake.script.error_in_call = 0;
    EXPECT_FALSE(fs::exists(runs.fake / name / "front.json"));
    std::set<PrecisionPlan> logged;
    if (fs::exists(runs.fake / name / "evaluations.jsonl")) {
      const std::string log = runs.TextOf(name, "evaluations.jsonl");
      EXPECT_EQ(whole_log.substr(0, log.size()), log);
      for (const LoggedEvaluation& known :
           ReadEvaluationLog(runs.fake / name / "evaluations.jsonl", FakeRun::kLayers)
               .evaluations) {
        logged.insert(known.plan);
      }
    }
    const PromptSet all = LoadPrompts(runs.fake.inputs(), Checkpoint(runs.fake.model()).config());
    runs.fake.script.calls.clear();
    runs.Search(name);
    EXPECT_EQ(runs.TextOf(name, "front.json"), runs.TextOf("whole", "front.json"));
    EXPECT_EQ(runs.TextOf(name, "evaluations.jsonl"), whole_log);
    // On the last prompt of the search only its own scores are made, not those of the scouting.
    for (const auto& [plan, prompt] : runs.AllAsked()) {
      if (prompt == all.prompts[11]) {
        EXPECT_FALSE(logged.contains(plan)) << PlanSpec(plan);
      }
    }
  }
}

TEST(SearchStep, ALossThatIsNoNumberEndsTheSearchAndIsNotKept) {
  SearchRuns runs;
  runs.Search("whole");
  const size_t calls = runs.fake.script.calls.size();
  size_t refused = 0;
  for (size_t n = 2; n <= calls; ++n) {  // the first one is the calibration's
    SCOPED_TRACE(n);
    const std::string name = "spoilt" + std::to_string(n);
    runs.fake.script.calls.clear();
    runs.fake.script.nan_in_call = n;
    try {
      runs.Search(name);  // a call for the exact plan alone is asked for its passes, not its scores
    } catch (const Error&) {
      ++refused;
      EXPECT_FALSE(fs::exists(runs.fake / name / "front.json"));
    }
    runs.fake.script.nan_in_call = 0;
    runs.Search(name);
    EXPECT_EQ(runs.TextOf(name, "front.json"), runs.TextOf("whole", "front.json"));
  }
  EXPECT_EQ(refused + 4, calls) << "all but the calibration and three passes of the exact plan";
}

TEST(SearchStep, KnownScoresOfAnotherRunAreNotMadeAgain) {
  SearchRuns runs;
  runs.Search("first");
  runs.fake.script.calls.clear();
  SearchStepOptions options = SmallSearch();
  options.known_scores = runs.fake / "first" / "evaluations.jsonl";
  const SearchOutcome outcome = runs.Search("second", options);
  EXPECT_EQ(runs.TextOf("second", "evaluations.jsonl"), runs.TextOf("first", "evaluations.jsonl"));
  EXPECT_EQ(runs.TextOf("second", "front.json"), runs.TextOf("first", "front.json"));
  const PromptSet all = LoadPrompts(runs.fake.inputs(), Checkpoint(runs.fake.model()).config());
  std::set<PrecisionPlan> complete;
  for (const LoggedEvaluation& known :
       ReadEvaluationLog(options.known_scores, FakeRun::kLayers).evaluations) {
    if (known.score.complete()) complete.insert(known.plan);
  }
  for (const auto& [plan, prompt] : runs.AllAsked()) {
    if (prompt == all.prompts.front()) {
      EXPECT_FALSE(complete.contains(plan)) << PlanSpec(plan);
    }
  }
  EXPECT_FALSE(outcome.unfinished);
}

// Without racing all scores of the other run are complete, those of single layers too.
TEST(SearchStep, WhereAllScoresAreKnownOnlyTheHeldOutPromptsAreAskedFor) {
  SearchRuns runs;
  SearchStepOptions options = SmallSearch();
  options.search.racing.reset();
  runs.Search("first", options);
  runs.fake.script.calls.clear();
  options.known_scores = runs.fake / "first" / "evaluations.jsonl";
  runs.Search("second", options);
  const PromptSet all = LoadPrompts(runs.fake.inputs(), Checkpoint(runs.fake.model()).config());
  const std::set<TokenIds> held_out(all.prompts.begin() + 12, all.prompts.end());
  EXPECT_FALSE(runs.AllAsked().empty());
  for (const auto& [plan, prompt] : runs.AllAsked())
    EXPECT_TRUE(held_out.contains(prompt)) << PlanSpec(plan);
}

TEST(SearchStep, OptionsAreNamedByTheirFlags) {
  SearchRuns runs;
  const RunPrompts prompts{
      .calibration = {}, .held_out = FakePrompts(3, 2), .held_out_source = "x"};
  SearchStepOptions options = SmallSearch();
  options.max_seconds = 5;
  Json json = OptionsOf(options, prompts);
  EXPECT_EQ(json["--population"], 8);
  EXPECT_EQ(json["--generations"], 4);
  EXPECT_EQ(json["--algorithm"], "nsga2");
  EXPECT_EQ(json["--refine-evaluations"], 12);
  EXPECT_EQ(json["--no-racing"], false);
  EXPECT_EQ(json["--held-out"], "x");
  EXPECT_EQ(json["--search-seed"], nullptr);
  EXPECT_FALSE(json.contains("--max-seconds"));
  const Json content = json["--held-out (content)"];
  options.search_seed = 9;
  WriteFileAtomically(runs.fake / "log", "one\n");
  options.known_scores = runs.fake / "log";
  json = OptionsOf(options, {.calibration = {}, .held_out = {}, .held_out_source = "x"});
  EXPECT_EQ(json["--search-seed"], 9);
  EXPECT_NE(json["--held-out (content)"], content);
  const Json known = json["--known-scores"];
  // The content counts, not the name.
  WriteFileAtomically(runs.fake / "log", "two\n");
  EXPECT_NE(OptionsOf(options, prompts)["--known-scores"], known);
}

TEST(SearchStep, AModelThatChangesMeanwhileGivesNoFront) {
  SearchRuns runs;
  runs.fake.script.streams_weights = true;
  runs.fake.script.on_call = [&](const FakeCall& call) {
    if (call.kind != FakeCallKind::kScore || call.plans.size() < 2) return;
    fs::resize_file(runs.fake.model() / "model.safetensors", 64);
  };
  EXPECT_THAT([&] { runs.Search("run"); },
              ThrowsMessage<Error>(HasSubstr("model.safetensors: found 64 bytes, ")));
  EXPECT_FALSE(fs::exists(runs.fake / "run" / "front.json"));
  EXPECT_FALSE(runs.Finished("run"));
}

// 6 layers, 9 pairs and 16 prompts, of which 4 are held out.
TEST(SearchStep, TheWorkOfARunIsCountedBeforeItBegins) {
  SearchRuns runs;
  ModelSession model(runs.fake.inputs(), "", runs.fake.loader());
  RunSession session(runs.fake / "run", model.run(), {"kvtune", "search"});
  const SearchWork work = EstimatedWork(session, model, SmallSearch());
  EXPECT_GT(work.calibration, 0);
  EXPECT_DOUBLE_EQ(work.uniform_plans, 10 * 12);
  // Six of ten plans of 4 generations of 8 are new, and then there are 12 of the refinement.
  EXPECT_DOUBLE_EQ(work.grouped_search, 0.6 * 32 * 12);
  EXPECT_DOUBLE_EQ(work.refinement, 12 * 12);
  EXPECT_DOUBLE_EQ(work.held_out, (10 + 0.25 * (0.6 * 32 + 12)) * 4);
  // Single layers are scored on as large a share of the prompts as the tokens of theirs are.
  const std::vector<TokenIds>& prompts = model.prompts().calibration.prompts;
  size_t scouted = 0, all = 0;
  for (const TokenIds& prompt : ScoutingPrompts(prompts)) scouted += prompt.size();
  for (const TokenIds& prompt : prompts) all += prompt.size();
  EXPECT_DOUBLE_EQ(work.scouting, 6 * 9 * 12 * (7.0 / 12) * static_cast<double>(scouted) /
                                      static_cast<double>(all));
  CalibrateStep(session, model, {});
  EXPECT_EQ(EstimatedWork(session, model, SmallSearch()).calibration, 0);
}

// Of one group the space has as many plans as the group has candidates.
TEST(SearchStep, ASpaceIsScoredWholeWhereTheGenerationsWouldTakeAsManyPlans) {
  SearchRuns runs;
  ModelSession model(runs.fake.inputs(), "", runs.fake.loader());
  const auto search = [&](const std::string& name, const auto& generations_for) {
    RunSession session(runs.fake / name, model.run(), {"kvtune", "search"});
    CalibrateStep(session, model, {});
    PruneStep(session, {});
    ClusterOptions one_group;
    one_group.max_groups = 1;
    const LayerGroups groups = ClusterStep(session, one_group);
    const auto space = static_cast<int>(groups.groups.at(0).candidates.size());
    SearchStepOptions options = SmallSearch();
    options.search.population = 1;
    options.search.generations = generations_for(space);
    return SearchStep(session, model, options, Never).front.search->exhaustive;
  };
  EXPECT_TRUE(search("as many", [](int space) { return space; }));
  EXPECT_FALSE(search("fewer", [](int space) { return space - 1; }));
}

// So many generations would take months. A space of few plans is known to take less.
TEST(SearchStep, TheTimeIsThatOfTheGenerationsWhereTheSpaceIsNotCounted) {
  const auto said_for = [](const std::string& target) {
    SearchRuns runs;
    runs.fake.script.on_call = [](const FakeCall& call) {
      if (call.kind == FakeCallKind::kNoiseFloor)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    RunInputs inputs = runs.fake.inputs();
    inputs.target = target;
    ModelSession model(inputs, "", runs.fake.loader());
    RunSession session(runs.fake / "run", model.run(), {"kvtune", "search"});
    CalibrateStep(session, model, {});
    PruneStep(session, {});
    ClusterStep(session, {});
    SearchStepOptions options = SmallSearch();
    options.search.generations = 2'000'000'000;
    SetLogLevel(LogLevel::kNormal);
    ::testing::internal::CaptureStderr();
    SearchStep(session, model, options, [] { return true; });
    SetLogLevel(LogLevel::kQuiet);
    return ::testing::internal::GetCapturedStderr();
  };
  EXPECT_THAT(said_for("vllm"), HasSubstr("--generations 500000000 --no-refine"));
  for (const char* counted : {"kvtuner", "sglang"}) {
    EXPECT_THAT(said_for(counted),
                AllOf(HasSubstr("the search takes about "), Not(HasSubstr("--generations"))))
        << counted;
  }
}

}  // namespace
}  // namespace kvtune
