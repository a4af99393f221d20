#include "lib/run/logged_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/run/run_session.h"
#include "tests/support/fake_run.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::ThrowsMessage;

struct ScoredModel {
  ScoredModel() {
    SetLogLevel(LogLevel::kQuiet);
    script.losses = {{3.1, 0.7}};
  }

  fs::path log() const { return folder / "evaluations.jsonl"; }
  // Calls that score other plans than the exact one.
  size_t ScoringCalls() const {
    size_t count = 0;
    for (const FakeCall& call : script.CallsOf(FakeCallKind::kScore)) {
      count += call.plans.front().is_exact() ? 0 : 1;
    }
    return count;
  }
  // A run with these two plans scored, in a folder of its own.
  fs::path OtherRun(const Provenance& run) {
    RunSession(folder / "other", run, {}).Save();
    const fs::path file = folder / "other" / "evaluations.jsonl";
    LoggedScores(file, model, prompts, FakeCost).cache().Evaluate(plans);
    script.calls.clear();
    return file;
  }

  TemporaryDirectory folder;
  FakeModelScript script;
  FakeModel model{FakeConfig(2), script};
  std::vector<TokenIds> prompts = FakePrompts(0, 5);
  std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kKV4, 2), {{kKV8, kKV2}}};
};

TEST(LoggedScores, WhatIsLoggedIsNotScoredAgain) {
  ScoredModel test;
  LoggedScores first(test.log(), test.model, test.prompts, FakeCost);
  EXPECT_EQ(first.logged(), 0u);
  const std::vector<PlanScore> scored = first.cache().Evaluate(test.plans);
  EXPECT_EQ(test.ScoringCalls(), 1u);
  LoggedScores second(test.log(), test.model, test.prompts, FakeCost);
  EXPECT_EQ(second.logged(), 2u);
  const std::vector<PlanScore> known = second.cache().Evaluate(test.plans);
  EXPECT_EQ(test.ScoringCalls(), 1u);
  for (size_t i = 0; i < test.plans.size(); ++i) EXPECT_EQ(known[i].kl_mean, scored[i].kl_mean);
  EXPECT_THAT(ReadEvaluationLog(test.log(), 2).evaluations, SizeIs(2));
}

TEST(LoggedScores, ABatchIsOnRecordBeforeItsScoresAreUsed) {
  ScoredModel test;
  LoggedScores scores(test.folder / "missing" / "log.jsonl", test.model, test.prompts, FakeCost);
  EXPECT_THROW(scores.cache().Evaluate(test.plans), Error);
  EXPECT_EQ(scores.cache().CountNew(test.plans), 2);
}

TEST(LoggedScores, PreparesOnceBeforeTheFirstLine) {
  ScoredModel test;
  int prepared = 0;
  LoggedScores scores(test.log(), test.model, test.prompts, FakeCost, [&] {
    ++prepared;
    EXPECT_FALSE(fs::exists(test.log()));
  });
  EXPECT_EQ(prepared, 0);
  scores.cache().Evaluate(test.plans);
  scores.cache().Evaluate(std::vector{PrecisionPlan::Uniform(kKV8, 2)});
  EXPECT_EQ(prepared, 1);
  EXPECT_EQ(ReadEvaluationLog(test.log(), 2).batch_count, 2);
}

TEST(LoggedScores, KnownScoresOfAnotherRunAreUsedAndLogged) {
  ScoredModel test;
  const fs::path known = test.OtherRun(TestRun(2));
  LoggedScores scores(test.log(), test.model, test.prompts, FakeCost);
  AddKnownScores(scores.cache(), known, TestRun(2), test.prompts.size());
  EXPECT_THAT(scores.cache().Evaluate(test.plans), SizeIs(2));
  EXPECT_THAT(test.script.calls, SizeIs(0));
  EXPECT_EQ(ReadFile(test.log()), ReadFile(known));
}

TEST(LoggedScores, TheNumberOfKnownScoresIsSaid) {
  ScoredModel test;
  const fs::path known = test.OtherRun(TestRun(2));
  LoggedScores scores(test.log(), test.model, test.prompts, FakeCost);
  SetLogLevel(LogLevel::kVerbose);
  ::testing::internal::CaptureStderr();
  AddKnownScores(scores.cache(), known, TestRun(2), test.prompts.size());
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("known scores: 2 plans from"));
  SetLogLevel(LogLevel::kQuiet);
}

TEST(LoggedScores, KnownScoresOverOtherPromptCountsArePassedOver) {
  ScoredModel test;
  const fs::path known = test.OtherRun(TestRun(2));
  LoggedScores scores(test.log(), test.model, std::span(test.prompts).first(4), FakeCost);
  AddKnownScores(scores.cache(), known, TestRun(2), 4);
  EXPECT_EQ(scores.cache().Evaluate(test.plans)[0].prompts, 4);
  EXPECT_EQ(test.ScoringCalls(), 1u);
}

TEST(LoggedScores, RefusesKnownScoresOfOtherInputsWithTheDifference) {
  ScoredModel test;
  const fs::path known = test.OtherRun(TestRun(2));
  LoggedScores scores(test.log(), test.model, test.prompts, FakeCost);
  Provenance other = TestRun(2);
  other.dtype = "bfloat16";
  other.prefill = "exact";
  EXPECT_THAT([&] { AddKnownScores(scores.cache(), known, other, test.prompts.size()); },
              ThrowsMessage<Error>(AllOf(
                  StartsWith("reading the known scores " + known.string()),
                  HasSubstr("--dtype: found float32 there, expected bfloat16; --prefill: found"))));
  EXPECT_EQ(scores.cache().CountNew(test.plans), 2);
  // Another seed shuffles otherwise, which the prompts' hash would say; scores are the same.
  Provenance reseeded = TestRun(2);
  reseeded.seed = 3;
  EXPECT_NO_THROW(AddKnownScores(scores.cache(), known, reseeded, test.prompts.size()));
}

TEST(LoggedScores, RefusesKnownScoresThatAreNoRuns) {
  ScoredModel test;
  LoggedScores scores(test.log(), test.model, test.prompts, FakeCost);
  const auto adding = [&](const fs::path& file) {
    return [&scores, file] { AddKnownScores(scores.cache(), file, TestRun(2), 5); };
  };
  EXPECT_THAT(adding(test.folder / "none.jsonl"),
              ThrowsMessage<Error>(HasSubstr("expected the evaluations.jsonl of a run")));
  WriteFileAtomically(test.folder / "lone.jsonl", "");
  EXPECT_THAT(adding(test.folder / "lone.jsonl"), ThrowsMessage<Error>(HasSubstr("run.json")));
}

}  // namespace
}  // namespace kvtune
