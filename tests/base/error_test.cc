#include "lib/base/error.h"

#include <gtest/gtest.h>

namespace kvtune {
namespace {

TEST(Error, CarriesMessageAndExitCode) {
  EXPECT_STREQ(Error("reading x: found y, expected z").what(), "reading x: found y, expected z");
  EXPECT_EQ(Error("x").exit_code(), ExitCode::kError);
  EXPECT_EQ(Error("x", ExitCode::kUsage).exit_code(), ExitCode::kUsage);
}

TEST(Error, ANullByteEndsNoMessage) {
  using std::string_literals::operator""s;
  EXPECT_STREQ(Error("f: found \"a\0b\0\", expected c"s).what(),
               "f: found \"a\\x00b\\x00\", expected c");
}

TEST(Error, ExitCodesAreTheOnesThatScriptsRelyOn) {
  EXPECT_EQ(static_cast<int>(ExitCode::kOk), 0);
  EXPECT_EQ(static_cast<int>(ExitCode::kError), 1);
  EXPECT_EQ(static_cast<int>(ExitCode::kUsage), 2);
  EXPECT_EQ(static_cast<int>(ExitCode::kBug), 3);
  EXPECT_EQ(static_cast<int>(ExitCode::kGateFailed), 4);
  EXPECT_EQ(static_cast<int>(ExitCode::kInterrupted), 130);
}

}  // namespace
}  // namespace kvtune
