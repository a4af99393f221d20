#include "lib/run/search_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

SearchSize SmallSize() {
  return {.layers = 8, .pairs = 9, .prompts = 32, .held_out_prompts = 32, .space = 1000};
}

TEST(SearchWork, CountsScoresOfAPlanOnAPrompt) {
  const SearchWork work = WorkOf({}, SmallSize());
  EXPECT_DOUBLE_EQ(work.uniform_plans, 10 * 32);
  EXPECT_DOUBLE_EQ(work.scouting, 8 * 9 * 8);  // on a quarter of the prompts
  EXPECT_DOUBLE_EQ(work.refinement, 50 * 32);
  EXPECT_GT(work.grouped_search, 0);
  // Every uniform plan, and a quarter of the 76.8 of the generations and the 50 of the refinement.
  EXPECT_DOUBLE_EQ(work.held_out, (10 + 0.25 * (0.6 * 16 * 8 + 50)) * 32);
  SearchSize twice = SmallSize();
  twice.prompts *= 2;
  EXPECT_DOUBLE_EQ(WorkOf({}, twice).calibration, 2 * work.calibration);
  EXPECT_LE(work.grouped_search, 16 * 8 * 32);
  EXPECT_DOUBLE_EQ(work.total(), work.calibration + work.after_calibration());
}

TEST(SearchWork, ASmallSpaceIsScoredWholeAndNoMore) {
  SearchSize size = SmallSize();
  size.space = 20;
  EXPECT_DOUBLE_EQ(WorkOf({}, size).grouped_search, 20 * 32);
  SearchStepOptions options;
  options.search.max_evaluations = 5;
  EXPECT_LE(WorkOf(options, SmallSize()).grouped_search, 5 * 32);
}

TEST(SearchWork, WhereNothingIsScoutedNothingIsRefined) {
  SearchSize size = SmallSize();
  size.scouts = false;
  EXPECT_EQ(WorkOf({}, size).scouting, 0);
  EXPECT_EQ(WorkOf({}, size).refinement, 0);
}

// Property: what is left falls with every report, and ends with the held-out prompts.
TEST(SearchWork, LessIsLeftWithEveryReport) {
  const SearchStepOptions options;
  const SearchWork work = WorkOf(options, SmallSize());
  double before = work.after_calibration();
  const auto left_after = [&](SearchStage stage, int generation) {
    GenerationReport report;
    report.stage = stage;
    report.generation = generation;
    return WorkLeftAfter(report, options, work);
  };
  for (int generation = 1; generation <= options.search.generations; ++generation) {
    const double left = left_after(SearchStage::kGroupedSearch, generation);
    EXPECT_LT(left, before);
    before = left;
  }
  EXPECT_DOUBLE_EQ(before, work.refinement + work.held_out);
  EXPECT_DOUBLE_EQ(left_after(SearchStage::kRefinement, 100), work.held_out);
  // A round is as large as a generation: 16 of the 50 plans.
  EXPECT_DOUBLE_EQ(left_after(SearchStage::kRefinement, 1),
                   (1 - 16.0 / 50) * work.refinement + work.held_out);
  EXPECT_DOUBLE_EQ(left_after(SearchStage::kUniformPlans, 0),
                   work.after_calibration() - work.uniform_plans);
}

TEST(SearchWork, ShortSearchesNeedNoAdvice) {
  const std::string text = DurationText({}, SmallSize(), 0.005, 8000);
  EXPECT_THAT(text, StartsWith("the search takes about "));
  EXPECT_THAT(text, Not(HasSubstr("--generations")));
}

TEST(SearchWork, LongSearchesNameWhatShortensThem) {
  const std::string text = DurationText({}, SmallSize(), 3, 8000);
  EXPECT_THAT(text, HasSubstr("--generations 2 --no-refine takes about "));
  EXPECT_THAT(text, HasSubstr("--max-tokens 2000 takes about "));
  EXPECT_THAT(text, HasSubstr("--max-seconds 1800"));
  SearchStepOptions limited;
  limited.max_seconds = 600;
  EXPECT_THAT(DurationText(limited, SmallSize(), 3, 8000),
              HasSubstr("--max-seconds ends it after 10 min"));
}

// Six of ten plans of 8 generations of 16 are new.
TEST(SearchWork, ASpaceOfUnknownSizeLimitsNothing) {
  SearchSize size = SmallSize();
  size.space = 0;
  EXPECT_DOUBLE_EQ(WorkOf({}, size).grouped_search, 0.6 * 16 * 8 * 32);
}

}  // namespace
}  // namespace kvtune
