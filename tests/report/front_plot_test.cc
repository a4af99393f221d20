#include "lib/report/front_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ScoredPlan Point(std::string name, double bytes, double kl) {
  ScoredPlan plan;
  plan.name = std::move(name);
  plan.plan = PrecisionPlan::Uniform(kExactPair, 2);
  plan.cost.bytes_per_token = bytes;
  plan.calibration.kl_mean = kl;
  return plan;
}

ParetoFront Corners() {
  ParetoFront front;
  front.plans = {Point("p00", 1000, 1e-5), Point("p01", 200, 0.1)};
  front.uniform = {Point("KV4", 600, 0.1)};
  return front;
}

TEST(FrontPlot, PointsStandWhereTheyBelong) {
  // Few bytes to the left, large losses on top.
  EXPECT_EQ(FrontPlot(Corners(), {.width = 31, .height = 5, .unicode = false}),
            " 1.0e-01 |*         oKV4\n"
            "         |\n"
            "         |\n"
            "         |\n"
            " 1.0e-05 |                   *\n"
            "         +--------------------\n"
            "          200 1000 bytes per token\n"
            "* front, o uniform plans;\n"
            "upwards: KL.\n");
}

// Behind its point where the name ends with the line at the latest, else before it.
TEST(FrontPlot, NamesStandWhereThereIsRoom) {
  ParetoFront front = Corners();
  const auto top = [&](const std::string& name) {
    front.uniform[0].name = name;
    const std::string plot = FrontPlot(front, {.width = 31, .height = 5, .unicode = false});
    return plot.substr(0, plot.find('\n'));
  };
  EXPECT_EQ(top("nine.char"), " 1.0e-01 |*         onine.char");
  EXPECT_EQ(top("ten..chars"), " 1.0e-01 |*         o");
  front.uniform[0].cost.bytes_per_token = 1000;
  EXPECT_EQ(top("KV4"), " 1.0e-01 |*               KV4o");
}

TEST(FrontPlot, FitsTheTerminalAndShowsUnicodeWhereAsked) {
  for (const size_t width : {60u, 80u, 100u, 120u}) {
    for (const bool unicode : {false, true}) {
      const std::string plot = FrontPlot(Corners(), {.width = width, .unicode = unicode});
      for (size_t begin = 0; begin < plot.size();) {
        const size_t end = plot.find('\n', begin);
        EXPECT_LE(DisplayWidth(std::string_view(plot).substr(begin, end - begin)), width);
        begin = end + 1;
      }
    }
  }
  EXPECT_THAT(FrontPlot(Corners(), {.unicode = true}), HasSubstr("●"));
  const std::string ascii = FrontPlot(Corners(), {.unicode = false});
  for (const char c : ascii) EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~'));
}

TEST(FrontPlot, OnePlanAloneIsAPictureToo) {
  ParetoFront front;
  front.uniform = {Point("KV8", 8, 0)};  // a loss of 0 has no logarithm
  EXPECT_THAT(FrontPlot(front, {.unicode = false}), HasSubstr("|oKV8\n"));
  EXPECT_THAT(FrontPlot(front, {.unicode = false}), Not(HasSubstr("nan")));
}

TEST(FrontPlot, MayBeAgainstTime) {
  ParetoFront front = Corners();
  EXPECT_THROW(FrontPlot(front, {.axis = PlotAxis::kMilliseconds}), Error);
  front.latency = LatencySource{.device = "a device", .setting = {8, 8192}, .table = "xxh3:0"};
  front.plans[0].cost.latency_ms = 2;  // the best plan is the fastest here
  front.plans[1].cost.latency_ms = 10;
  front.uniform[0].cost.latency_ms = 6;
  EXPECT_EQ(
      FrontPlot(front,
                {.width = 33, .height = 5, .unicode = false, .axis = PlotAxis::kMilliseconds}),
      " 1.0e-01 |           oKV4      *\n"
      "         |\n"
      "         |\n"
      "         |\n"
      " 1.0e-05 |*\n"
      "         +----------------------\n"
      "          2.000 10.0 ms of attention\n"
      "* front, o uniform plans;\n"
      "upwards: KL.\n");
}

}  // namespace
}  // namespace kvtune
