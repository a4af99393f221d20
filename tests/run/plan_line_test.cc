#include "lib/run/plan_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

PlanLine Parse(std::string_view line) {
  return ParsePlanLine(line, "line 7", 3, FindTarget("kvtuner"));
}

auto Parsing(std::string_view line) {
  return [line] { Parse(line); };
}

TEST(PlanLine, OnePlanIsNamedByItselfOrItsSpec) {
  const PlanLine named = Parse(R"({"spec": "KV4;0:KV8", "name": "mine"})");
  EXPECT_FALSE(named.is_array);
  ASSERT_EQ(named.plans.size(), 1u);
  EXPECT_EQ(named.plans[0].name, "mine");
  EXPECT_EQ(PlanSpec(named.plans[0].plan), "KV4;0:KV8");
  EXPECT_EQ(Parse(R"({"spec": "KV4;0-2:KV8", "name": 7})").plans[0].name, "KV8");
}

TEST(PlanLine, AnArrayHoldsAnyNumberOfPlans) {
  const PlanLine two = Parse(R"([{"spec": "KV4"}, {"spec": "KV2"}])");
  EXPECT_TRUE(two.is_array);
  EXPECT_EQ(two.plans.size(), 2u);
  EXPECT_TRUE(Parse("[]").is_array);
  EXPECT_THAT(Parse("[]").plans, IsEmpty());
}

TEST(PlanLine, ErrorsNameTheLineAndThePlan) {
  EXPECT_THAT(Parsing("{"), ThrowsMessage<Error>(HasSubstr("line 7: not valid JSON")));
  EXPECT_THAT(Parsing("null"), ThrowsMessage<Error>(HasSubstr("line 7: found null, expected")));
  EXPECT_THAT(Parsing(R"([{"spec": "KV4"}, 3])"),
              ThrowsMessage<Error>(HasSubstr("line 7: plan 1: found 3, expected")));
  EXPECT_THAT(Parsing(R"({"spec": "q8_0"})"), ThrowsMessage<Error>(HasSubstr("q8_0")));
}

}  // namespace
}  // namespace kvtune
