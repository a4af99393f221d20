#include "lib/report/latency_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

LatencyTable MeasuredTable() {
  const LayerShape full{4, 64, 64, 0}, sliding{4, 64, 64, 512};
  LatencyTable table{.device = "a device",
                     .model = "a model",
                     .copy_bytes_per_second = 4e9,
                     .layers = {full, sliding},
                     .settings = {}};
  SettingLatency setting{.setting = {8, 1024}, .pairs = {}, .steps = {}};
  setting.steps = {{"first", PrecisionPlan::Uniform(kKV8, 2), {10, 9, 12}, 4, 8 << 20, 10},
                   {"p\n07", PrecisionPlan::Uniform(kKV4, 2), {5, 4.5, 6}, 1, 2 << 20, 40}};
  setting.steps[1].counted_bytes = 3 << 19;
  setting.pairs = {{0, kKV8, {2, 1, 3}, 4'000'000},
                   {0, kKV4, {0.5, 0.25, 0.75}, 500'000},
                   {1, kKV4, {1, 1, 1}, 1 << 20}};
  table.settings.push_back(setting);
  return table;
}

// With single blanks, so that an example shows the words alone.
std::string Words(const std::string& text) {
  std::string words = text;
  const auto end =
      std::unique(words.begin(), words.end(), [](char a, char b) { return a == ' ' && b == ' '; });
  words.erase(end, words.end());
  return words;
}

TEST(LatencyText, RowsAreExactlyThese) {
  const std::string text = Words(LatencyText(MeasuredTable(), 0));
  EXPECT_THAT(text,
              StartsWith("a model on a device, copies at 3.73 GiB/s\n"
                         "\n"
                         "batch 8, 1k tokens in the cache\n"
                         "plan step ms attention ms tokens/s x first cache counted largest batch\n"
                         "first 10.0 [9.000, 12.0] 4.000 800 1.00 8.00 MiB - 10\n"
                         "p\\n07 5.000 [4.500, 6.000] 1.000 1600 2.00 2.00 MiB 1.50 MiB 40\n"
                         "\n"
                         "layer pair attention ms x first of copy bandwidth read\n"
                         "0 KV8 2.000 [1.000, 3.000] 1.00 50 % 3.81 MiB\n"
                         "0 KV4 0.500 [0.250, 0.750] 4.00 25 % 488 KiB\n"
                         "1 KV4 1.000 [1.000, 1.000] 1.00 26 % 1.00 MiB\n"
                         "\n"
                         "Medians [lowest, highest]. "));
}

TEST(LatencyText, WhatWasNotMeasuredIsLeftOut) {
  LatencyTable table = MeasuredTable();
  table.settings[0].steps.clear();
  EXPECT_THAT(LatencyText(table, 0), Not(HasSubstr("tokens/s")));
  table.copy_bytes_per_second = 0;
  EXPECT_THAT(Words(LatencyText(table, 0)), HasSubstr("0 KV8 2.000 [1.000, 3.000] 1.00 - 3.81"));
  table.copy_bytes_per_second = 4e9;
  table.settings[0].pairs[0].attention = {0, 0, 0};
  EXPECT_THAT(Words(LatencyText(table, 0)), HasSubstr(" - 3.81 MiB\n"));
  table.copy_bytes_per_second = 1;  // of anything that was measured there is a share
  table.settings[0].pairs[0].attention = {1, 1, 1};
  EXPECT_THAT(Words(LatencyText(table, 0)), HasSubstr("0 KV8 1.000 [1.000, 1.000] 1.00 4"));
}

// The names of the columns in the order in which a terminal that gets narrower loses them.
std::vector<std::string> Lost(const std::vector<std::string>& names, const std::string& begin) {
  std::vector<std::string> lost;
  for (size_t width = 200; width >= 20; --width) {
    const std::string text = LatencyText(MeasuredTable(), width);
    const size_t at = text.find("\n" + begin);
    const std::string part = text.substr(at, text.find("\n\n", at) - at);
    for (const std::string& name : names) {
      if (part.find(name) == std::string::npos && std::ranges::count(lost, name) == 0)
        lost.push_back(name);
    }
  }
  return lost;
}

TEST(LatencyText, NarrowTerminalsLoseTheLeastNeededColumnsFirst) {
  EXPECT_THAT(Lost({"attention ms", "x first", "cache", "counted", "largest batch"}, "plan"),
              ElementsAre("counted", "cache", "attention ms", "x first", "largest batch"));
  EXPECT_THAT(Lost({"x first", "of copy bandwidth", "read"}, "layer"),
              ElementsAre("x first", "of copy bandwidth", "read"));
}

TEST(MillisecondsText, HasThreeOrFourDigits) {
  EXPECT_EQ(MillisecondsText(0.04214), "0.0421");
  EXPECT_EQ(MillisecondsText(0.1), "0.100");
  EXPECT_EQ(MillisecondsText(1.3374), "1.337");
  EXPECT_EQ(MillisecondsText(10), "10.0");
  EXPECT_EQ(MillisecondsText(25.24), "25.2");
  EXPECT_EQ(MillisecondsText(1000), "1000");
}

}  // namespace
}  // namespace kvtune
