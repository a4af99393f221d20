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
