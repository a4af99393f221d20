#include "lib/core/pareto_front.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

ScoredPlan Scored(std::string name, const PrecisionPlan& plan) {
  const FakeEvaluator fake({1.0 / 3, 0.7});
  return {std::move(name), plan, FakeCost(plan), fake.ScoreOf(plan), std::nullopt};
}

ParetoFront SmallFront() {
  ParetoFront front;
  front.run = TestRun(2);
  front.plans = {Scored("p00", {{kKV8, kK8V4}}), Scored("p01", {{kKV8, kKV4}})};
  front.plans[1].held_out = HeldOutScore{front.plans[1].calibration, Interval{0.1, 1.0 / 7}};
  front.uniform = {Scored("KV8", {{kKV8, kKV8}}), Scored("KV4", {{kKV4, kKV4}})};
  front.reference = Scored("exact", {{kExactPair, kExactPair}});
  return front;
}

ParetoFront ReadFront(const Json& json) { return ParetoFrontFromJson(json, "front.json"); }

TEST(ParetoFront, RoundTripIsBitForBit) {
  ParetoFront front = SmallFront();
  front.plans[1].cost.padded_bytes_per_token = 1.0 / 3;
  const std::string text = DumpJson(ToJson(front));
  const ParetoFront read = ReadFront(ParseJson(text, "text"));
  EXPECT_EQ(DumpJson(ToJson(read)), text);
  EXPECT_EQ(read.plans[0].plan, front.plans[0].plan);
  EXPECT_EQ(read.plans[0].calibration.kl_mean, front.plans[0].calibration.kl_mean);
  EXPECT_EQ(read.plans[0].cost.bytes_per_token, front.plans[0].cost.bytes_per_token);
  EXPECT_EQ(read.plans[0].cost.padded_bytes_per_token, std::nullopt);
  EXPECT_EQ(read.plans[1].cost.padded_bytes_per_token, 1.0 / 3);
  EXPECT_EQ(read.plans[0].held_out, std::nullopt);
  ASSERT_TRUE(read.plans[1].held_out);
  EXPECT_EQ(read.plans[1].held_out->loss_interval, front.plans[1].held_out->loss_interval);
  EXPECT_EQ(read.uniform[1].name, "KV4");
  EXPECT_TRUE(read.reference.plan.is_exact());
}

TEST(ParetoFront, DoublesOfAllMagnitudesReadBackEqual) {
  Random random(1);
  for (int i = 0; i < 500; ++i) {
    ParetoFront front = SmallFront();
    PlanScore& score = front.plans[0].calibration;
    score.kl_mean = random.Unit() * std::pow(10, 40 * random.Unit() - 20);
    score.delta_nll = -random.Unit() * std::pow(10, 350 * random.Unit() - 320);
    const ParetoFront read = ReadFront(ParseJson(DumpJson(ToJson(front)), "text"));
    EXPECT_EQ(read.plans[0].calibration.kl_mean, score.kl_mean);
    EXPECT_EQ(read.plans[0].calibration.delta_nll, score.delta_nll);
  }
}

TEST(ParetoFront, NumbersThatNoPlanHasAreRefused) {
  ParetoFront front = SmallFront();
  front.plans[1].cost.padded_bytes_per_token = 128;
  front.plans[1].calibration_interval = Interval{0.1, 0.2};
  front.run.noise_floor = 1e-9;
  const Json whole = ToJson(front);
  const auto with = [&](const std::string& place, const Json& value) {
    Json json = whole;
    json.at(Json::json_pointer(place)) = value;
    return [json] { return ReadFront(json); };
  };
  const std::vector<std::pair<std::string, std::vector<Json>>> impossible = {
      {"/run/context", {0, -1}},
      {"/run/prompt_count", {-1}},
      {"/run/token_count", {-1, int64_t{1} << 60}},
      {"/run/noise_floor", {-1e-9, 1e300}},
      {"/plans/1/nominal_bits", {-1, 1e4}},
      {"/plans/1/effective_bits", {-1, 1e4}},
      {"/plans/1/bytes_per_token", {-1, 1e300}},
      {"/plans/1/padded_bytes_per_token", {-1, 1e300}},
      {"/plans/1/calibration/prompts", {-1}},
      {"/plans/1/calibration/tokens", {-1}},
      {"/plans/1/calibration/kl_mean", {-0.1, 1e300}},
      {"/plans/1/calibration/kl_p99", {-0.1, 1e300}},
      {"/plans/1/calibration/kl_p999", {-0.1, 1e300}},
      {"/plans/1/calibration/top1_agreement", {-0.1, 1.1}},
      {"/plans/1/calibration/nll", {-1e300, 1e300}},
      {"/plans/1/calibration/delta_nll", {-1e300, 1e300}},
      {"/plans/1/held_out/kl_mean", {-0.1}},
      {"/plans/1/calibration_interval", {{0.1, 1e300}, {-1e300, 0.1}}}};
  EXPECT_NO_THROW(with("/plans/1/calibration/kl_mean", -1e-9)());  // rounding
  for (const auto& [place, values] : impossible) {
    const std::string field = place.substr(place.rfind('/') + 1);
    for (const Json& value : values) {
      EXPECT_THAT(with(place, value), ThrowsMessage<Error>(HasSubstr("\"" + field + "\": found ")))
          << place << " " << value;
    }
  }
}

TEST(ParetoFront, FieldsAreTheOnesThatScriptsRead) {
  const Json json = ToJson(SmallFront());
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  EXPECT_THAT(keys,
              ::testing::ElementsAre("schema_version", "run", "plans", "uniform", "reference"));
  const Json& plan = json["plans"][0];
  EXPECT_EQ(plan["name"], "p00");
  EXPECT_EQ(plan["spec"], "KV8;1:K8V4");
  EXPECT_EQ(plan["layers"].dump(),
            R"([{"key":"int8","value":"int8"},{"key":"int8","value":"int4"}])");
  EXPECT_EQ(plan["nominal_bits"], 7.0);
  EXPECT_EQ(plan["bytes_per_token"], 224.0);
  EXPECT_TRUE(plan["calibration"].contains("kl_p999"));
  EXPECT_TRUE(plan["held_out"].is_null());
  EXPECT_EQ(json["plans"][1]["held_out"]["kl_mean_interval"].size(), 2u);
  EXPECT_TRUE(json["plans"][1]["held_out"].contains("kl_mean"));
}

TEST(ParetoFront, PlanIsReadWithoutTheTarget) {
  ScoredPlan plan = Scored("p00", {{kKiviKV4, kKiviKV4}});
  const Json json = ToJson(plan);
  EXPECT_EQ(json["spec"], "KV4");
  EXPECT_EQ(ScoredPlanFromJson(JsonFields(json, "plan")).plan, plan.plan);
}

TEST(ParetoFront, MistakesNameThePlan) {
  const auto reading = [](auto edit) {
    Json json = ToJson(SmallFront());
    edit(json);
    return [json] { ReadFront(json); };
  };
  EXPECT_THAT(reading([](Json& json) { json["plans"][1]["spec"] = "KV8"; }),
              ThrowsMessage<Error>(
                  StrEq("front.json: plans[1]: \"spec\": found \"KV8\", expected \"KV8;1:KV4\" "
                        "as \"layers\" says")));
  EXPECT_THAT(reading([](Json& json) { json["plans"][1]["layers"] = Json::array(); }),
              ThrowsMessage<Error>(HasSubstr("plans[1]: \"layers\": found no layers")));
  EXPECT_THAT(reading([](Json& json) { json["plans"][0]["layers"][1]["key"] = "int3"; }),
              ThrowsMessage<Error>(HasSubstr("plans[0]: layers[1]: \"key\": found \"int3\"")));
  EXPECT_THAT(reading([](Json& json) {
                json["run"]["layer_count"] = 3;
                json["run"]["layer_shapes"][0]["layers"] = "0-2";
              }),
              ThrowsMessage<Error>(HasSubstr("\"plans\": found 2 layers in p00, expected 3")));
  EXPECT_THAT(reading([](Json& json) { json["uniform"][0]["name"] = "p01"; }),
              ThrowsMessage<Error>(HasSubstr("\"uniform\": found the name p01 twice")));
  EXPECT_THAT(reading([](Json& json) { json["plans"][0]["name"] = ""; }),
              ThrowsMessage<Error>(HasSubstr("expected a name")));
  EXPECT_THAT(reading([](Json& json) {
                json["uniform"][0] = json["plans"][0];
                json["uniform"][0]["name"] = "KV8";
              }),
              ThrowsMessage<Error>(HasSubstr(
                  "found KV8;1:K8V4 in KV8, expected one pair for all but exact layers")));
  EXPECT_THAT(
      reading([](Json& json) {
        json["reference"] = json["plans"][0];
        json["reference"]["name"] = "exact";
      }),
      ThrowsMessage<Error>(HasSubstr("\"reference\": found KV8;1:K8V4, expected the exact plan")));
  EXPECT_THAT(reading([](Json& json) { json["plans"][0].erase("held_out"); }),
              ThrowsMessage<Error>(HasSubstr("plans[0]: \"held_out\": found nothing")));
  EXPECT_THAT(reading([](Json& json) { json["plans"][1]["held_out"].erase("kl_mean_interval"); }),
              ThrowsMessage<Error>(HasSubstr("held_out: \"kl_mean_interval\": found nothing")));
  EXPECT_THAT(reading([](Json& json) {
                json["plans"][1]["held_out"]["kl_mean_interval"] = {2.0, 1.0};
              }),
              ThrowsMessage<Error>(HasSubstr("found [2, 1], expected [low, high]")));
  EXPECT_THAT(reading([](Json& json) {
                json["plans"][0]["calibration"]["kl_mean_interval"] = {1.0, 2.0};
              }),
              ThrowsMessage<Error>(HasSubstr("expected it in held-out scores only")));
  EXPECT_THAT(reading([](Json& json) { json["plans"][0]["calibration"]["kl"] = 1; }),
              ThrowsMessage<Error>(HasSubstr("calibration: found the unknown key \"kl\"")));
  EXPECT_THAT(reading([](Json& json) { json["plans"][0]["calibration"]["kl_mean"] = nullptr; }),
              ThrowsMessage<Error>(HasSubstr("\"kl_mean\": found null, expected a number")));
}

TEST(ParetoFront, ScoreThatIsNotANumberIsNotWritten) {
  ScoredPlan plan = Scored("p00", {{kKV8, kKV8}});
  plan.calibration.kl_p99 = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(
      [&] { ToJson(plan); },
      ThrowsMessage<Error>(StrEq("writing the plan p00: calibration: kl_p99: found nan, expected a "
                                 "finite number")));
}

TEST(ParetoFront, PlansAreFoundByName) {
  const ParetoFront front = SmallFront();
  EXPECT_EQ(FindPlan(front, "p01"), &front.plans[1]);
  EXPECT_EQ(FindPlan(front, "KV4"), &front.uniform[1]);
  EXPECT_EQ(FindPlan(front, "exact"), &front.reference);
  EXPECT_EQ(FindPlan(front, "p02"), nullptr);
  ParetoFront with_near = front;
  with_near.near = {Scored("n00", {{kK8V4, kKV4}})};
  EXPECT_EQ(FindPlan(with_near, "n00"), &with_near.near[0]);
  EXPECT_EQ(AllPlans(with_near).size(), 6u);
}

TEST(ParetoFront, WhatIsNotKnownReadsBackAsThat) {
  ParetoFront front = SmallFront();
  front.near = {Scored("n00", {{kK8V4, kKV4}})};
  HeldOutScore& held_out = *front.plans[1].held_out;
  held_out.loss_interval = std::nullopt;
  held_out.prompts_for_interval = 31;
  held_out.score.total_variation = 1.0 / 3;
  held_out.score.effective_tokens = 12.5;
  held_out.score.by_position = {{0, 64, 640, 0.001}, {64, 256, 900, 1.0 / 3}};
  const std::string text = DumpJson(ToJson(front));
  const ParetoFront read = ReadFront(ParseJson(text, "text"));
  EXPECT_EQ(DumpJson(ToJson(read)), text);
  ASSERT_EQ(read.near.size(), 1u);
  EXPECT_EQ(read.plans[1].held_out->loss_interval, std::nullopt);
  EXPECT_EQ(read.plans[1].held_out->prompts_for_interval, 31);
  EXPECT_EQ(read.plans[1].held_out->score.by_position, held_out.score.by_position);
  EXPECT_EQ(read.plans[0].calibration.total_variation, std::nullopt);
}

TEST(ParetoFront, SearchSummaryAndIntervalsReadBack) {
  ParetoFront front = SmallFront();
  front.plans[0].calibration_interval = Interval{0.1, 1.0 / 3};
  front.search = SearchSummary{.algorithm = "moead",
                               .exhaustive = true,
                               .stop_reason = "done",
                               .distinct_plans = 12,
                               .prompt_scores = 90,
                               .prompt_scores_saved = 6,
                               .surrogate_hypervolume = 1.0 / 7};
  front.search->generations = {{},
                               {SearchStage::kGroupedSearch, 1, 12, 3, 5, 2.0 / 3},
                               {SearchStage::kRefinement, 1, 14, 3, 6, 0.7}};
  front.search->answers = AnswerSearch{
      .search_items = 2, .test_items = 180, .generated_tokens = 4321, .searched = {3, 7}};
  front.plans[0].accuracy = AccuracyScore{.task = "sums", .items = 180, .strict = 0.5};
  front.plans[0].search_accuracy = AccuracyScore{.task = "sums", .items = 20, .strict = 0.75};
  const std::string text = DumpJson(ToJson(front));
  const ParetoFront read = ReadFront(ParseJson(text, "text"));
  EXPECT_EQ(DumpJson(ToJson(read)), text);
  EXPECT_EQ(read.plans[0].calibration_interval, front.plans[0].calibration_interval);
  ASSERT_TRUE(read.search);
  EXPECT_EQ(read.search->generations[2].stage, SearchStage::kRefinement);
  EXPECT_EQ(read.search->surrogate_hypervolume, 1.0 / 7);
  EXPECT_EQ(read.search->answers->generated_tokens, 4321);
  EXPECT_EQ(read.search->answers->searched, (std::vector<int64_t>{3, 7}));
  EXPECT_EQ(read.plans[0].accuracy, front.plans[0].accuracy);
  EXPECT_EQ(read.plans[0].search_accuracy, front.plans[0].search_accuracy);
  Json json = ToJson(front);
  json["search"]["generations"][1]["stage"] = "other";
  EXPECT_THAT(
      [&] { ReadFront(json); },
      ThrowsMessage<Error>(HasSubstr("found \"other\", expected uniform, grouped or refinement")));
}

TEST(ParetoFront, KeepsTheTimesOfItsPlans) {
  ParetoFront front = SmallFront();
  front.latency = LatencySource{.device = "a device", .setting = {8, 1024}, .table = "xxh3:0"};
  for (ScoredPlan* plan : AllPlans(front)) plan->cost.latency_ms = 1.0 / 3;
  const ParetoFront read = ParetoFrontFromJson(ToJson(front), "front.json");
  EXPECT_EQ(read.latency, front.latency);
  for (const ScoredPlan* plan : AllPlans(read)) EXPECT_EQ(plan->cost.latency_ms, 1.0 / 3);
  const auto message = [](const ParetoFront& written) -> std::string {
    try {
      ParetoFrontFromJson(ToJson(written), "front.json");
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  front.reference.cost.latency_ms.reset();
  EXPECT_THAT(message(front), HasSubstr("found no time of exact, expected one of every plan"));
  front.latency.reset();
  EXPECT_THAT(message(front), HasSubstr("found times of plans, expected what they are of"));
  front = SmallFront();
  front.plans[0].cost.latency_ms = -1;
  EXPECT_THAT(message(front), HasSubstr("latency_ms"));
}

TEST(PlanCost, TakesNoMoreWhereNeitherBytesNorTimeAreMore) {
  const auto cost = [](double bytes, std::optional<double> milliseconds) {
    return PlanCost{.bytes_per_token = bytes, .latency_ms = milliseconds};
  };
  EXPECT_TRUE(TakesNoMore(cost(2, 1), cost(2, 1)));
  EXPECT_FALSE(TakesNoMore(cost(3, 1), cost(2, 1)));
  EXPECT_FALSE(TakesNoMore(cost(1, 2), cost(2, 1)));
  EXPECT_TRUE(TakesNoMore(cost(1, 2), cost(2, std::nullopt)));
  EXPECT_TRUE(TakesNoMore(cost(1, std::nullopt), cost(2, std::nullopt)));
}

}  // namespace
}  // namespace kvtune
