#include "lib/report/report_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/report/report_example.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ReportData, HoldsEveryPlanOnce) {
  const RunReport report = ReportExample();
  const Json data = ReportData(report);
  // p01 is KV2 itself: the uniform plan has its name as an alias.
  std::vector<std::string> names;
  for (const Json& plan : data["plans"]) names.push_back(plan["name"]);
  EXPECT_THAT(names, ElementsAre("p00", "KV8", "KV2", "exact"));
  EXPECT_FALSE(data["plans"][1].contains("alias"));
  EXPECT_EQ(data["plans"][2]["alias"], "p01");
  EXPECT_EQ(data["plans"][2]["kind"], "uniform");
  EXPECT_EQ(data["plans"][0]["kind"], "front");
  EXPECT_EQ(data["plans"][3]["kind"], "exact");
}

TEST(ReportData, APlanHasItsFormatsScoresAndSizes) {
  const Json plan = ReportData(ReportExample())["plans"][0];
  const Json formats = ReportData(ReportExample())["formats"];
  EXPECT_EQ(plan["spec"], "K8V2;1:KV4");
  EXPECT_EQ(formats[plan["keys"][0].get<size_t>()]["name"], "int8");
  EXPECT_EQ(formats[plan["values"][0].get<size_t>()]["bits"], 2);
  EXPECT_EQ(formats[plan["keys"][1].get<size_t>()]["name"], "int4");
  EXPECT_EQ(plan["calibration"]["loss"], 0.01);
  EXPECT_EQ(plan["calibration"]["interval"], nullptr);
  EXPECT_EQ(plan["held_out"]["loss"], 0.02);
  EXPECT_EQ(plan["held_out"]["interval"], Json({0.01, 0.04}));
  // The example's cache takes the tokens times 3 bytes.
  const Json contexts = ReportData(ReportExample())["contexts"];
  ASSERT_EQ(plan["cache_bytes"].size(), contexts.size());
  EXPECT_EQ(contexts[0], 1024);
  EXPECT_EQ(plan["cache_bytes"][1], 3 * contexts[1].get<double>());
}

TEST(ReportData, HoldsAnswersWithTheirPairedIntervals) {
  RunReport report = ReportExample();
  EXPECT_THAT(ReportData(report)["answer_sentences"], IsEmpty());
  EXPECT_FALSE(ReportData(report)["plans"][0].contains("accuracy"));
  const AccuracyScore exact{.task = "sums", .items = 100, .strict = 0.9, .flexible = 0.9};
  AccuracyScore worse = exact;
  worse.strict = 0.8;
  worse.lost = 11;
  worse.gained = 1;
  worse.mcnemar_p = 0.006;
  worse.difference = {-0.165, -0.03};
  report.front->reference.accuracy = exact;
  report.front->plans[0].accuracy = exact;
  report.front->uniform[1].accuracy = worse;
  const Json data = ReportData(report);
  EXPECT_EQ(data["plans"][0]["accuracy"]["strict"], 0.9);
  EXPECT_EQ(data["plans"][0]["accuracy"]["is_worse"], false);
  const Json& of_worse = data["plans"][2]["accuracy"];
  EXPECT_EQ(of_worse["lost"], 11);
  EXPECT_EQ(of_worse["difference_interval"], Json({-0.165, -0.03}));
  EXPECT_EQ(of_worse["is_worse"], true);
  EXPECT_FALSE(data["plans"][1].contains("accuracy"));
  ASSERT_GE(data["answer_sentences"].size(), 2u);
  EXPECT_THAT(data["answer_sentences"][0].get<std::string>(),
              HasSubstr("has 90.0 % of 100 items of \"sums\" right"));
  EXPECT_THAT(data["answer_sentences"][1].get<std::string>(),
              HasSubstr("Fewest bytes and not worse: p00"));
  // A uniform plan of the front is one plan, by its uniform name.
  report.front->uniform[0].plan = report.front->plans[0].plan;
  report.front->uniform[0].cost = report.front->plans[0].cost;
  report.front->uniform[0].accuracy = exact;
  const Json once = ReportData(report)["answer_sentences"];
  EXPECT_EQ(once.size(), data["answer_sentences"].size());
  EXPECT_THAT(once[1].get<std::string>(),
              HasSubstr("Fewest bytes and not worse: " + report.front->uniform[0].name));
}

TEST(ReportData, HoldsEveryCellOfTheSensitivityTable) {
  const RunReport report = ReportExample();
  const Json data = ReportData(report);
  ASSERT_EQ(data["pairs"].size(), report.sensitivity->pairs.size());
  ASSERT_EQ(data["output_errors"].size(), report.sensitivity->pairs.size());
  for (size_t pair = 0; pair < report.sensitivity->pairs.size(); ++pair) {
    EXPECT_EQ(data["pairs"][pair]["label"], PairLabel(report.sensitivity->pairs[pair]));
    ASSERT_EQ(data["output_errors"][pair].size(), report.sensitivity->layers.size());
    for (size_t layer = 0; layer < report.sensitivity->layers.size(); ++layer) {
      EXPECT_NEAR(data["output_errors"][pair][layer].get<double>(),
                  report.sensitivity->layers[layer].errors[pair].e_o, 1e-6);
    }
  }
}

TEST(ReportData, APrunedCellNamesThePairThatDominatesIt) {
  const RunReport report = ReportExample();
  const Json data = ReportData(report);
  size_t dropped = 0;
  for (size_t pair = 0; pair < report.sensitivity->pairs.size(); ++pair) {
    for (size_t layer = 0; layer < 2; ++layer) {
      const Json& by = data["dominated_by"][pair][layer];
      if (by.is_null()) continue;
      ++dropped;
      EXPECT_EQ(layer, 1u);
      EXPECT_EQ(data["pairs"][pair]["label"], "K4V8");
      EXPECT_EQ(by, "K8V4");
    }
  }
  EXPECT_EQ(dropped, 1u);
  EXPECT_EQ(data["groups"], Json({0, 1}));
}

TEST(ReportData, ShowsFirstTheLargestUniformPlanTheKneeAndTheUniformPlanOfItsSize) {
  EXPECT_THAT(FirstPlans(*ReportExample().front), ElementsAre("KV8", "p00", "KV2"));
  ParetoFront uniform_only = *ReportExample().front;
  uniform_only.plans = {uniform_only.uniform[0]};
  uniform_only.plans[0].name = "p00";
  // The front's only plan is KV8, so no name is there twice.
  EXPECT_THAT(FirstPlans(uniform_only), ElementsAre("KV8"));
  EXPECT_THAT(FirstPlans(ParetoFront{}), IsEmpty());
}

TEST(ReportData, ARunWithoutAFrontHasNoPlans) {
  RunReport report = ReportExample();
  report.front.reset();
  report.candidates.reset();
  report.groups.reset();
  report.cache_bytes = nullptr;
  report.exports = nullptr;
  report.missing = {{"No plans have been searched yet.", "kvtune search"}};
  const Json data = ReportData(report);
  EXPECT_THAT(data["plans"], IsEmpty());
  EXPECT_THAT(data["exports"], IsEmpty());
  EXPECT_EQ(data["dominated_by"], nullptr);
  EXPECT_EQ(data["groups"], nullptr);
  EXPECT_EQ(data["missing"][0]["command"], "kvtune search");
  EXPECT_EQ(data["pairs"].size(), 9u);
  RunReport nothing;
  nothing.run = report.run;
  EXPECT_THAT(ReportData(nothing)["pairs"], IsEmpty());
}

TEST(ReportData, WithoutHeldOutScoresPlansHaveNone) {
  RunReport report = ReportExample();
  for (std::vector<ScoredPlan>* plans : {&report.front->plans, &report.front->uniform}) {
    for (ScoredPlan& plan : *plans) plan.held_out.reset();
  }
  EXPECT_EQ(ReportData(report)["plans"][0]["held_out"], nullptr);
}

TEST(ReportData, ExportsAreByFormatAndPlan) {
  const Json data = ReportData(ReportExample());
  ASSERT_EQ(data["exports"].size(), 2u);
  EXPECT_EQ(data["exports"][0]["format"], "yaml");
  EXPECT_EQ(data["exports"][0]["description"], "a file");
  EXPECT_EQ(data["exports"][0]["plans"]["p00"]["command"], "export p00 as yaml");
  EXPECT_EQ(data["exports"][0]["plans"]["p00"]["content"], "0: 8\n1: 4\n");
  EXPECT_FALSE(data["exports"][0]["plans"]["p00"].contains("why_not"));
  EXPECT_EQ(data["exports"][1]["plans"]["KV8"]["why_not"], "too many bits");
  EXPECT_EQ(data["exports"][1]["plans"]["KV8"]["nearest"], "KV4");
  // p01 is shown as KV2, and exact plans need no export.
  EXPECT_FALSE(data["exports"][0]["plans"].contains("p01"));
  EXPECT_TRUE(data["exports"][0]["plans"].contains("KV2"));
  EXPECT_FALSE(data["exports"][0]["plans"].contains("exact"));
}

TEST(ReportData, ControlCharactersOfNamesAreShownAndNumbersAreShort) {
  RunReport report = ReportExample();
  report.title = "a\x1b[31mb";
  report.front->plans[0].name = "p\x01";
  report.front->plans[0].cost.effective_bits = 1.0 / 3;
  const Json data = ReportData(report);
  EXPECT_EQ(data["title"], "a\\x1b[31mb");
  EXPECT_EQ(data["plans"][0]["name"], "p\\x01");
  EXPECT_TRUE(data["exports"][0]["plans"].contains("p\\x01"));
  EXPECT_EQ(data["plans"][0]["effective_bits"], 0.333333);
}

TEST(ReportData, PlansHaveTheirTimesWhereTheyAreKnown) {
  RunReport report = ReportExample();
  EXPECT_FALSE(ReportData(report)["plans"][0].contains("latency_ms"));
  report.front->latency =
      LatencySource{.device = "a <device>", .setting = {8, 8192}, .table = "xxh3:0"};
  for (ScoredPlan* plan : AllPlans(*report.front)) plan->cost.latency_ms = 1.0 / 3;
  const Json data = ReportData(report);
  for (const Json& plan : data["plans"]) EXPECT_EQ(plan["latency_ms"], 0.333333);
  EXPECT_THAT(data["sentences"].dump(), HasSubstr("measured on a <device>."));
}

}  // namespace
}  // namespace kvtune
