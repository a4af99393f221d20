#include "lib/run/merge_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.h"
#include "lib/core/objective.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/plan_source.h"
#include "lib/run/search_step.h"
#include "lib/run/stages.h"
#include "tests/support/fake_run.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct TwoRuns {
  // Small searches of the same prompts with seeds of their own.
  void Search(const std::string& name, uint64_t seed, RunInputs inputs) {
    ModelSession model(inputs, "", fake.loader());
    RunSession session(fake / name, model.run(), {"kvtune", "search"});
    CalibrateStep(session, model, {});
    PruneStep(session, {});
    ClusterStep(session, {});
    SearchStepOptions options;
    options.search.population = 8;
    options.search.generations = 3;
    options.search.refinement_evaluations = 6;
    options.search_seed = seed;
    SearchStep(session, model, options, [] { return false; });
  }
  TwoRuns() {
    Search("a", 1, fake.inputs());
    Search("b", 2, fake.inputs());
  }
  ParetoFront Merge(const std::string& other, const std::string& out) {
    const std::vector<fs::path> runs = {fake / "a", fake / other};
    return MergeRuns(runs, fake / out, {"kvtune", "pareto", "merge"});
  }

  FakeRun fake;
};

TEST(MergeRuns, TheFrontIsThatOfAllPlans) {
  TwoRuns runs;
  const ParetoFront merged = runs.Merge("b", "merged");
  EXPECT_EQ(ToJson(ReadFront(runs.fake / "merged")), ToJson(merged));
  // No plan of either run dominates one of the merged front, and none is lost.
  for (const char* name : {"a", "b"}) {
    for (const ScoredPlan& plan : ReadFront(runs.fake / name).plans) {
      const bool is_there = std::ranges::count(merged.plans, plan.plan, &ScoredPlan::plan) > 0;
      const bool is_dominated = std::ranges::any_of(merged.plans, [&](const ScoredPlan& member) {
        return member.cost.bytes_per_token <= plan.cost.bytes_per_token &&
               LossOf(member.calibration) <= LossOf(plan.calibration);
      });
      EXPECT_TRUE(is_there || is_dominated);
      for (const ScoredPlan& member : merged.plans) {
        EXPECT_FALSE(plan.cost.bytes_per_token < member.cost.bytes_per_token &&
                     LossOf(plan.calibration) < LossOf(member.calibration));
      }
    }
  }
  for (size_t i = 0; i < merged.plans.size(); ++i) {
    EXPECT_TRUE(merged.plans[i].held_out.has_value());
    EXPECT_EQ(merged.plans[i].name, (i < 10 ? "p0" : "p") + std::to_string(i));
  }
}

// As an interruption leaves it: the front so far, without held-out scores.
TEST(MergeRuns, ASearchThatHasNotEndedIsRefused) {
  TwoRuns runs;
  const fs::path file = RunDirectory(runs.fake / "b").front();
  Json front = ReadJsonFile(file);
  for (const char* plans : {"plans", "uniform", "near"}) {
    if (!front.contains(plans)) continue;
    for (Json& plan : front[plans]) plan["held_out"] = nullptr;
  }
  front["reference"]["held_out"] = nullptr;
  WriteFileAtomically(file, front.dump());
  EXPECT_THAT([&] { runs.Merge("b", "merged"); },
              ThrowsMessage<Error>(HasSubstr("found no held-out scores, expected a search that")));
  EXPECT_FALSE(fs::exists(runs.fake / "merged"));
}

TEST(MergeRuns, EveryScoreIsKeptOnce) {
  TwoRuns runs;
  runs.Merge("b", "merged");
  const auto plans_of = [&](const std::string& name) {
    std::multiset<PrecisionPlan> plans;
    for (const LoggedEvaluation& logged :
         ReadEvaluationLog(runs.fake / name / "evaluations.jsonl", FakeRun::kLayers).evaluations) {
      if (logged.score.complete()) plans.insert(logged.plan);
    }
    return plans;
  };
  std::set<PrecisionPlan> all;
  for (const char* name : {"a", "b"}) {
    const std::multiset<PrecisionPlan> plans = plans_of(name);
    all.insert(plans.begin(), plans.end());
  }
  const std::multiset<PrecisionPlan> merged = plans_of("merged");
  EXPECT_EQ(std::vector(merged.begin(), merged.end()), std::vector(all.begin(), all.end()));
}

TEST(MergeRuns, OtherPromptsAreRefused) {
  TwoRuns runs;
  RunInputs other = runs.fake.inputs();
  other.prompts.max_prompts = 12;
  runs.Search("c", 1, other);
  EXPECT_THAT([&] { runs.Merge("c", "merged"); },
              ThrowsMessage<Error>(HasSubstr("--max-prompts or --max-tokens: found")));
  EXPECT_FALSE(fs::exists(runs.fake / "merged"));
}

TEST(MergeRuns, AnswersToOtherItemsAreRefused) {
  TwoRuns runs;
  const fs::path file = runs.fake / "b/front.json";
  const ParetoFront front = ReadFront(runs.fake / "b");
  ParetoFront answered = front;
  answered.reference.accuracy = AccuracyScore{.task = "sums", .items = 3};
  WriteJsonFileAtomically(file, ToJson(answered));
  EXPECT_THAT(
      [&] { runs.Merge("b", "merged"); },
      ThrowsMessage<Error>(HasSubstr("--task: found answers to other items there, or none")));
  ParetoFront searched = front;
  searched.search->answers =
      AnswerSearch{.search_items = 2, .test_items = 1, .generated_tokens = 9};
  WriteJsonFileAtomically(file, ToJson(searched));
  EXPECT_THAT([&] { runs.Merge("b", "merged"); },
              ThrowsMessage<Error>(HasSubstr("found a search by answers, expected one by losses")));
  EXPECT_FALSE(fs::exists(runs.fake / "merged"));
}

TEST(MergeRuns, NothingIsWrittenOver) {
  TwoRuns runs;
  EXPECT_THAT([&] { runs.Merge("b", "a"); }, ThrowsMessage<Error>(HasSubstr("is the input")));
  runs.Merge("b", "merged");
  EXPECT_THAT([&] { runs.Merge("b", "merged"); },
              ThrowsMessage<Error>(HasSubstr("found a run there")));
}

}  // namespace
}  // namespace kvtune
