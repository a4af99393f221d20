#include "lib/base/bar.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <limits>

namespace kvtune {
namespace {

TEST(Bar, ShowsEighthsOfAColumn) {
  EXPECT_EQ(Bar(0.5, 4, true), "██");
  EXPECT_EQ(Bar(0.53125, 4, true), "██▏");
  EXPECT_EQ(Bar(1, 2, true), "██");
  EXPECT_EQ(Bar(0, 2, true), "");
  EXPECT_EQ(Bar(0.5, 4, false), "##");
}

TEST(Bar, SharesOutsideAreCut) {
  EXPECT_EQ(Bar(7, 3, false), "###");
  EXPECT_EQ(Bar(-1, 3, false), "");
  EXPECT_EQ(Bar(std::numeric_limits<double>::quiet_NaN(), 3, false), "");
}

TEST(Bar, ProgressIsFilledUp) {
  EXPECT_EQ(ProgressBar(0.25, 4, false), "#...");
  EXPECT_EQ(ProgressBar(0.25, 4, true), "█░░░");
}

TEST(Bar, TheLocaleDecides) {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) ::unsetenv(name);
  EXPECT_FALSE(ShowsUnicode());
  ::setenv("LANG", "en_US.UTF-8", 1);
  EXPECT_TRUE(ShowsUnicode());
  ::setenv("LC_ALL", "C", 1);
  EXPECT_FALSE(ShowsUnicode());
  ::unsetenv("LC_ALL");
  ::unsetenv("LANG");
}

}  // namespace
}  // namespace kvtune
