#include "lib/base/progress.h"

#include <gtest/gtest.h>

namespace kvtune {
namespace {

TEST(Progress, DurationsReadLikeAClock) {
  EXPECT_EQ(FormatDuration(0), "0:00");
  EXPECT_EQ(FormatDuration(42.4), "0:42");
  EXPECT_EQ(FormatDuration(59.6), "1:00");
  EXPECT_EQ(FormatDuration(725), "12:05");
  EXPECT_EQ(FormatDuration(3753), "1:02:33");
  EXPECT_EQ(FormatDuration(-1), "0:00");
}

TEST(Progress, RoughTimesHaveOneUnitOrTwo) {
  EXPECT_EQ(RoughDuration(0.2), "1 s");
  EXPECT_EQ(RoughDuration(40), "40 s");
  EXPECT_EQ(RoughDuration(725), "12 min");
  EXPECT_EQ(RoughDuration(3 * 3600 + 25 * 60), "3 h 20 min");
  EXPECT_EQ(RoughDuration(36 * 3600), "1.5 days");
}

TEST(RunProgress, TheLineFitsTheTerminal) {
  EXPECT_EQ(RunProgressLine("generation 3 of 8", 0.5, 72, 80, 79, false),
            "##########..........  50 %  generation 3 of 8  1:12, 1:20 left");
  EXPECT_EQ(RunProgressLine("loading", -1, 3, -1, 79, false),
            "....................       loading  0:03");
  EXPECT_EQ(RunProgressLine("a very long stage of the run", 0.1, 5, 50, 50, false).size(), 50u);
}

// Tests write to a pipe, where the line of the run is not shown and stages print their own.
TEST(RunProgress, CountsWorkAlsoWhereItShowsNothing) {
  ::testing::internal::CaptureStderr();
  {
    RunProgress run("searching");
    EXPECT_FALSE(RunProgress::IsShown());
    RunProgress::SetWorkLeft(100);
    Progress progress("scoring 4 plans", 3, "prompts", 4);
    progress.Advance(2);
    EXPECT_EQ(RunProgress::WorkDone(), 8);
    progress.Finish();
  }
  EXPECT_EQ(RunProgress::WorkDone(), 0);  // there is none any more
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.rfind("scoring 4 plans: 2 prompts in ", 0), 0u) << text;
}

TEST(Progress, CountsAndClosesOnce) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("scoring plans", 3, "plans");
    progress.Advance();
    progress.Advance(2);
    progress.Finish();
    progress.Finish();
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.rfind("scoring plans: 3 plans in ", 0), 0u) << text;
  EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
}

}  // namespace
}  // namespace kvtune
