#include "lib/run/evaluation_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "search/search.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

const std::vector<double> kWeights = {3.1, 0.7, 1.9, 0.3, 0.11};

LayerGroups Groups() {
  LayerGroups groups;
  for (size_t i = 0; i < kWeights.size(); ++i) groups.groups.push_back({{i}, {kKV8, kKV4, kKV2}});
  return groups;
}

SearchOptions SmallSearchOptions() {
  SearchOptions options;
  options.population = 8;
  options.generations = 5;
  options.enumerate_up_to = 0;
  options.seed = 7;
  return options;
}

// A search with a log, as a command runs it.
struct LoggedSearch {
  explicit LoggedSearch(const std::filesystem::path& path)
      : log(path, kWeights.size()), fake(kWeights, 3) {
    for (const LoggedEvaluation& known : log.evaluations()) cache.Insert(known.plan, known.score);
  }

  SearchResult Run(const SearchOptions& options, const SearchHooks& hooks = {}) {
    return Search({.groups = Groups(), .uniform_pairs = NinePairs(), .cost = FakeCost}, cache,
                  options, hooks);
  }

  EvaluationLog log;
  FakeEvaluator fake;
  EvaluationCache cache{fake,
                        [this](auto plans, auto scores) { log.Append(plans, scores, FakeCost); }};
};

std::string FrontText(const SearchResult& result) {
  ParetoFront front;
  front.run = TestRun(static_cast<int64_t>(kWeights.size()));
  front.plans = result.front;
  front.uniform = result.uniform;
  front.reference = result.reference;
  return DumpJson(ToJson(front));
}

TEST(EvaluationLog, ScoresReadBackBitForBit) {
  const TemporaryDirectory directory;
  const auto path = directory / "evaluations.jsonl";
  FakeEvaluator fake({1.0 / 3, 0.1});
  const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(kKV4, 2), {{kKV8, kK4V2}}};
  EvaluationLog(path, 2).Append(plans, fake.Evaluate(plans), FakeCost);
  const LogContent content = ReadEvaluationLog(path, 2);
  ASSERT_THAT(content.evaluations, SizeIs(2));
  EXPECT_EQ(content.batch_count, 1);
  EXPECT_EQ(content.intact_bytes, ReadFile(path).size());
  for (size_t i = 0; i < plans.size(); ++i) {
    const LoggedEvaluation& read = content.evaluations[i];
    const PlanScore score = fake.ScoreOf(plans[i]);
    EXPECT_EQ(read.plan, plans[i]);
    EXPECT_EQ(read.batch, 0);
    EXPECT_EQ(read.cost.bytes_per_token, FakeCost(plans[i]).bytes_per_token);
    EXPECT_EQ(read.score.tokens, score.tokens);
    EXPECT_EQ(read.score.kl_mean, score.kl_mean);
    EXPECT_EQ(read.score.kl_p999, score.kl_p999);
    EXPECT_EQ(read.score.top1_agreement, score.top1_agreement);
    EXPECT_EQ(read.score.delta_nll, score.delta_nll);
    ASSERT_EQ(read.score.per_prompt.size(), score.per_prompt.size());
    EXPECT_EQ(read.score.per_prompt[1].kl_sum, score.per_prompt[1].kl_sum);
    EXPECT_EQ(read.score.per_prompt[1].tokens, score.per_prompt[1].tokens);
    EXPECT_TRUE(read.score.complete());
  }
}

TEST(EvaluationLog, NoFileIsAnEmptyLog) {
  const TemporaryDirectory directory;
  EXPECT_THAT(ReadEvaluationLog(directory / "none.jsonl", 2).evaluations, IsEmpty());
  const EvaluationLog log(directory / "none.jsonl", 2);
  EXPECT_THAT(log.evaluations(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(directory / "none.jsonl"));
}

TEST(EvaluationLog, BatchesGoOnWhereTheyStopped) {
  const TemporaryDirectory directory;
  const auto path = directory / "evaluations.jsonl";
  FakeEvaluator fake({1, 1});
  for (const PrecisionPair pair : {kKV8, kKV4, kKV2}) {
    const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(pair, 2)};
    EvaluationLog(path, 2).Append(plans, fake.Evaluate(plans), FakeCost);
  }
  EXPECT_EQ(ReadEvaluationLog(path, 2).batch_count, 3);
}

TEST(EvaluationLog, CutAnywhereKeepsWholeBatchesOnly) {
  const TemporaryDirectory directory;
  const auto path = directory / "evaluations.jsonl";
  FakeEvaluator fake({1, 1});
  std::vector<size_t> batch_ends = {0};
  std::vector<size_t> plans_so_far = {0};
  for (const size_t size : {size_t{2}, size_t{1}, size_t{3}}) {
    std::vector<PrecisionPlan> plans;
    for (size_t i = 0; i < size; ++i) {
      plans.push_back(PrecisionPlan::Uniform(NinePairs()[plans_so_far.back() + i], 2));
    }
    EvaluationLog(path, 2).Append(plans, fake.Evaluate(plans), FakeCost);
    batch_ends.push_back(ReadFile(path).size());
    plans_so_far.push_back(plans_so_far.back() + size);
  }
  const std::string text = ReadFile(path);
  const auto cut_path = directory / "cut.jsonl";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    WriteFileAtomically(cut_path, text.substr(0, cut));
    size_t whole = 0;
    while (whole + 1 < batch_ends.size() && batch_ends[whole + 1] <= cut) ++whole;
    const LogContent content = ReadEvaluationLog(cut_path, 2);
    ASSERT_EQ(content.evaluations.size(), plans_so_far[whole]) << "cut at " << cut;
    ASSERT_EQ(content.intact_bytes, batch_ends[whole]) << "cut at " << cut;
  }
}

TEST(EvaluationLog, InterruptedSearchGivesTheSameFrontAndTheSameLog) {
  const TemporaryDirectory directory;
  const auto path = directory / "evaluations.jsonl";
  LoggedSearch whole(path);
  const std::string expected = FrontText(whole.Run(SmallSearchOptions()));
  const std::string text = ReadFile(path);

  const auto cut_path = directory / "cut.jsonl";
  for (size_t cut = 0; cut <= text.size(); cut += 997) {  // a prime: all places of a line
    WriteFileAtomically(cut_path, text.substr(0, cut));
    LoggedSearch resumed(cut_path);
    ASSERT_EQ(FrontText(resumed.Run(SmallSearchOptions())), expected) << "cut at " << cut;
    ASSERT_EQ(ReadFile(cut_path), text) << "cut at " << cut;
    // The model is asked for the very batches that were lost.
    const size_t lost = resumed.fake.batches().size();
    ASSERT_LE(lost, whole.fake.batches().size());
    for (size_t i = 0; i < lost; ++i) {
      ASSERT_EQ(resumed.fake.batches()[i],
                whole.fake.batches()[whole.fake.batches().size() - lost + i]);
    }
  }
}

TEST(EvaluationLog, StoppedSearchIsContinued) {
  const TemporaryDirectory directory;
  const std::string expected =
      FrontText(LoggedSearch(directory / "whole.jsonl").Run(SmallSearchOptions()));
  SearchHooks stopping;
  int asked = 0;
  stopping.should_stop = [&] { return ++asked == 3; };
  const SearchResult first =
      LoggedSearch(directory / "parts.jsonl").Run(SmallSearchOptions(), stopping);
  EXPECT_TRUE(first.interrupted);
  EXPECT_EQ(first.summary.stop_reason, "stopped after generation 2 of 5");
  const SearchResult second = LoggedSearch(directory / "parts.jsonl").Run(SmallSearchOptions());
  EXPECT_FALSE(second.interrupted);
  EXPECT_EQ(FrontText(second), expected);
  EXPECT_EQ(ReadFile(directory / "parts.jsonl"), ReadFile(directory / "whole.jsonl"));
}

class DamagedLog : public ::testing::Test {
 protected:
  DamagedLog() : path_(directory_ / "evaluations.jsonl") {
    FakeEvaluator fake({1, 1});
    for (const PrecisionPair pair : {kKV8, kKV4, kKV2}) {
      const std::vector<PrecisionPlan> plans = {PrecisionPlan::Uniform(pair, 2)};
      EvaluationLog(path_, 2).Append(plans, fake.Evaluate(plans), FakeCost);
    }
    text_ = ReadFile(path_);
  }

  void Write(const std::string& text) { WriteFileAtomically(path_, text); }
  size_t LineStart(int line) const {
    size_t start = 0;
    for (int i = 1; i < line; ++i) start = text_.find('\n', start) + 1;
    return start;
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_;
  std::string text_;
};

TEST_F(DamagedLog, CorruptLineInTheMiddleNamesItsNumber) {
  std::string damaged = text_;
  damaged[LineStart(2) + 60] ^= 1;
  Write(damaged);
  EXPECT_THAT([&] { ReadEvaluationLog(path_, 2); },
              ThrowsMessage<Error>(StrEq(path_.string() +
                                         ": line 2: found a line that does not match its checksum, "
                                         "expected one as kvtune wrote it")));
}

TEST_F(DamagedLog, CorruptLastLineIsLeftOutAndCutOff) {
  std::string damaged = text_;
  damaged[LineStart(3) + 60] ^= 1;
  Write(damaged);
  EXPECT_THAT(EvaluationLog(path_, 2).evaluations(), SizeIs(2));
  EXPECT_EQ(ReadFile(path_), text_.substr(0, LineStart(3)));
}

TEST_F(DamagedLog, LineThatIsGoneIsMissed) {
  Write(text_.substr(0, LineStart(2)) + text_.substr(LineStart(3)));
  EXPECT_THAT(
      [&] { ReadEvaluationLog(path_, 2); },
      ThrowsMessage<Error>(HasSubstr("line 2: found batch 2 of 1 plans, expected batch 1")));
}

TEST_F(DamagedLog, LogOfAnotherModelIsRefused) {
  EXPECT_THAT([&] { ReadEvaluationLog(path_, 3); },
              ThrowsMessage<Error>(HasSubstr("line 1: \"layers\": found 2 layers, expected 3")));
}

TEST(EvaluationLog, NeitherCutsNorWritesWhatALinkLeadsTo) {
  const TemporaryDirectory folder;
  WriteFileAtomically(folder / "mine.jsonl", "a prompt without a line end");
  std::filesystem::create_symlink(folder / "mine.jsonl", folder / "log.jsonl");
  { const EvaluationLog log(folder / "log.jsonl", kWeights.size()); }
  EXPECT_EQ(ReadFile(folder / "mine.jsonl"), "a prompt without a line end");
}

}  // namespace
}  // namespace kvtune
