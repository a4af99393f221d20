#include "lib/run/search_work.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

SearchSize SmallSize() {
  return {.layers = 8,
          .pairs = 9,
          .scouted_plans = 72,
          .prompts = 32,
          .held_out_prompts = 32,
          .space = 1000};
}

TEST(SearchWork, CountsScoresOfAPlanOnAPrompt) {
  const SearchWork work = WorkOf({}, SmallSize());
  EXPECT_DOUBLE_EQ(work.uniform_plans, 10 * 32);
  // On a quarter of the prompts, and from the plan's layer on: 4.5 of 8 layers on average.
  EXPECT_DOUBLE_EQ(work.scouting, 72 * 8 * 4.5 / 8);
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
}

// Eight generations of 16 plans have 76.8 new ones.
TEST(SearchWork, TheGroupedSearchIsAsLongAsItsSpaceAndItsLimitsLetIt) {
  const auto plans_of = [](int64_t space, int64_t enumerate_up_to, bool exact = false,
                           int64_t max_evaluations = 0) {
    SearchSize size = SmallSize();
    size.space = space;
    SearchStepOptions options;
    options.search.enumerate_up_to = enumerate_up_to;
    options.search.exact = exact;
    options.search.max_evaluations = max_evaluations;
    return WorkOf(options, size).grouped_search / 32;
  };
  EXPECT_DOUBLE_EQ(plans_of(128, 128), 128);
  EXPECT_DOUBLE_EQ(plans_of(129, 128), 76.8);
  EXPECT_DOUBLE_EQ(plans_of(1, 0), 1);
  EXPECT_DOUBLE_EQ(plans_of(50, 0), 50);
  EXPECT_DOUBLE_EQ(plans_of(0, 128), 76.8);
  EXPECT_DOUBLE_EQ(plans_of(1000, 128, true), 1000);
  EXPECT_DOUBLE_EQ(plans_of(0, 128, true), 76.8);
  // Of what the exact and the nine uniform plans leave of the limit, the refinement keeps a third.
  EXPECT_DOUBLE_EQ(plans_of(1000, 128, false, 5), 0);
  EXPECT_DOUBLE_EQ(plans_of(1000, 128, false, 40), 20);
  EXPECT_DOUBLE_EQ(plans_of(1000, 128, false, 106), 64);
  EXPECT_DOUBLE_EQ(plans_of(1000, 128, false, 200), 76.8);
  EXPECT_DOUBLE_EQ(plans_of(100, 128, false, 40), 30);
}

// 30 plans are left after the exact and the uniform ones.
TEST(SearchWork, TheLimitIsThatOfAllPlans) {
  SearchStepOptions options;
  options.search.max_evaluations = 40;
  const SearchWork work = WorkOf(options, SmallSize());
  EXPECT_DOUBLE_EQ(work.uniform_plans + work.grouped_search + work.refinement, 40 * 32);
  EXPECT_DOUBLE_EQ(work.refinement, 10 * 32);
}

TEST(SearchWork, WhereNothingIsScoutedNothingIsRefined) {
  SearchSize size = SmallSize();
  size.scouted_plans = 0;
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

TEST(SearchWork, PlansOfAStreamedModelShareTheReadingOfItsLayers) {
  SearchSize size = SmallSize();
  size.is_streamed = true;
  EXPECT_THAT(DurationText({}, size, 0.005, 8000), StartsWith("the search takes at most about "));
}

// Ten prompts under 10 uniform plans and 20 of the space are 300 scores.
TEST(SearchWork, HalfAnHourItselfIsShortAndNoLimitEndsItself) {
  const SearchSize size{.layers = 8, .pairs = 9, .prompts = 10, .space = 20};
  SearchStepOptions options;
  EXPECT_EQ(DurationText(options, size, 6, 8000), "the search takes about 30 min on this machine");
  EXPECT_THAT(DurationText(options, size, 6.01, 8000), HasSubstr("--generations 2"));
  options.max_seconds = 1800;
  EXPECT_EQ(DurationText(options, size, 6, 8000), "the search takes about 30 min on this machine");
}

// 320 scores of uniform plans, 324 of single layers, 2457.6 of the generations, 1600 of the
// refinement and 1334.4 on held-out prompts: 6036 of three seconds. Of two generations and no
// refinement, 320 + 324 + 614.4 + 473.6 = 1732.
TEST(SearchWork, LongSearchesNameWhatShortensThem) {
  EXPECT_EQ(DurationText({}, SmallSize(), 3, 8000),
            "the search takes about 5 h 0 min on this machine; --generations 2 --no-refine takes "
            "about 87 min; --max-tokens 2000 takes about 75 min; --max-seconds 1800 stops the "
            "search after 30 min, and the same command goes on");
  SearchStepOptions limited;
  limited.max_seconds = 600;
  EXPECT_EQ(DurationText(limited, SmallSize(), 3, 3),
            "the search takes about 5 h 0 min on this machine; --max-seconds ends it after 10 "
            "min; --generations 2 --no-refine takes about 87 min");
  limited.max_seconds = 20'000;  // more than it takes
  EXPECT_THAT(DurationText(limited, SmallSize(), 3, 4),
              AllOf(HasSubstr("; --max-tokens 1 takes about 75 min"), Not(HasSubstr("ends it"))));
  SearchStepOptions longer;
  longer.search.generations = 40;
  EXPECT_THAT(DurationText(longer, SmallSize(), 3, 0), HasSubstr("; --generations 10 --no-refine"));
}

// Six of ten plans of 8 generations of 16 are new.
TEST(SearchWork, ASpaceOfUnknownSizeLimitsNothing) {
  SearchSize size = SmallSize();
  size.space = 0;
  EXPECT_DOUBLE_EQ(WorkOf({}, size).grouped_search, 0.6 * 16 * 8 * 32);
}

}  // namespace
}  // namespace kvtune
