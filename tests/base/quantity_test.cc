#include "lib/base/quantity.h"

#include <gtest/gtest.h>

namespace kvtune {
namespace {

TEST(Quantity, CountsInPowersOf1024) {
  EXPECT_EQ(ParseCount("32k"), 32768u);
  EXPECT_EQ(ParseCount("32K"), 32768u);
  EXPECT_EQ(ParseCount("1.5M"), 1572864u);
  EXPECT_EQ(ParseCount("2Gi"), uint64_t{2} << 30);
  EXPECT_EQ(ParseCount("0"), 0u);
  EXPECT_EQ(ParseCount("18446744073709551615"), UINT64_MAX);
}

TEST(Quantity, RefusesWhatIsNoCount) {
  for (const char* text : {"", "k", "-1", "many", "32kB", "0.3k", "1.5", "1e3", "3kk", "32 0", "1i",
                           "nan", "inf", "99999999999T"}) {
    EXPECT_EQ(ParseCount(text), std::nullopt) << text;
  }
}

TEST(Quantity, SizesSayWhichPowers) {
  EXPECT_EQ(ParseSize("24GiB"), uint64_t{24} << 30);
  EXPECT_EQ(ParseSize("24G"), uint64_t{24} << 30);
  EXPECT_EQ(ParseSize("24 GiB"), uint64_t{24} << 30);
  EXPECT_EQ(ParseSize("24GB"), 24'000'000'000u);
  EXPECT_EQ(ParseSize("500M"), uint64_t{500} << 20);
  EXPECT_EQ(ParseSize("10kB"), 10'000u);
  EXPECT_EQ(ParseSize("4096B"), 4096u);
  EXPECT_EQ(ParseSize("0.5KiB"), 512u);
  EXPECT_EQ(ParseSize("5X"), std::nullopt);
  EXPECT_EQ(ParseSize("-1GiB"), std::nullopt);
}

TEST(Quantity, WritesThreeDigits) {
  EXPECT_EQ(SizeText(999), "999 B");
  EXPECT_EQ(SizeText(1.5 * (1 << 30)), "1.50 GiB");
  EXPECT_EQ(SizeText(24.0 * (1 << 30)), "24.0 GiB");
  EXPECT_EQ(CountText(18.04e6), "18.0 M");
  EXPECT_EQ(FactorText(1.0549), "1.05");
  EXPECT_EQ(FactorText(26.64), "26.6");
  EXPECT_EQ(FactorText(9834), "9830");
  EXPECT_EQ(FactorText(999.7), "1000");
  EXPECT_EQ(FactorText(0.975, 2), "0.97");
  EXPECT_EQ(FactorText(121, 2), "120");
  EXPECT_EQ(FactorText(123456), "123000");
  EXPECT_EQ(FactorText(12.34e6), "1.23e7");
  EXPECT_EQ(FactorText(1.5e-7), "1.5e-7");
  EXPECT_EQ(FactorText(1e-320), "1e-320");
  EXPECT_EQ(TokensText(32768), "32k");
  EXPECT_EQ(TokensText(1000), "1000");
  EXPECT_EQ(TokensText(0), "0");
}

}  // namespace
}  // namespace kvtune
