#include "lib/report/front_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "lib/report/text_table.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

ScoredPlan PlanOf(std::string name, std::string_view spec, double bytes, double kl) {
  ScoredPlan plan;
  plan.name = std::move(name);
  plan.plan = ParsePlanSpec(spec, 4, NinePairs());
  plan.cost.bytes_per_token = bytes;
  std::vector<PromptScore> prompts(8);
  for (PromptScore& prompt : prompts) {
    prompt.tokens = 100;
    prompt.kl_sum = 100 * kl;
    prompt.top1_matches = 98;
    prompt.token_kl.assign(100, static_cast<float>(kl));
  }
  plan.calibration = Summarize(prompts);
  plan.calibration_interval = Interval{kl / 2, kl * 2};
  plan.held_out =
      HeldOutScore{.score = plan.calibration, .loss_interval = Interval{kl / 2, kl * 2}};
  return plan;
}

ParetoFront SmallFront() {
  ParetoFront front;
  front.run = TestRun(4);
  front.run.model = "models/small/";
  front.plans = {PlanOf("p00", "KV8", 800, 1e-5), PlanOf("p01", "KV8;0:K8V4", 700, 1e-5),
                 PlanOf("p02", "KV4;0:K8V4;2:K8V4", 400, 1e-4), PlanOf("p03", "KV2", 200, 0.5)};
  front.uniform = {PlanOf("KV8", "KV8", 800, 1e-5), PlanOf("KV4", "KV4", 400, 0.1),
                   PlanOf("KV2", "KV2", 200, 0.5)};
  front.reference = PlanOf("exact", "exact", 1600, 0);
  return front;
}

Diagnosis FragileKeys() {
  Diagnosis diagnosis;
  diagnosis.safe_key = KvFormatId::kInt4;
  diagnosis.ordinary_output_error = 0.07;
  diagnosis.fragile = {{.index = 0,
                        .needed_key = KvFormatId::kInt8,
                        .measured = {.output_error = 0.61},
                        .causes = {FragilityCause::kKeyError, FragilityCause::kKeyOutliers}},
                       {.index = 2,
                        .needed_key = KvFormatId::kInt8,
                        .measured = {.output_error = 0.5},
                        .causes = {FragilityCause::kKeyOutliers}}};
  return diagnosis;
}

PlanComparison ComparisonOf(double ratio, Interval interval) {
  PlanComparison comparison;
  comparison.ratio = ratio;
  comparison.interval = interval;
  return comparison;
}

// What lib/run would choose: p02 is recommended and the smallest, and nothing is like KV8 but p01.
SummaryChoice ChoiceOf(const ParetoFront& front) {
  SummaryChoice choice;
  choice.scores = ScoreSet::kHeldOut;
  choice.reference = &front.uniform[0];
  choice.four_bits = choice.best_four_bits = &front.uniform[1];
  choice.like_eight_bits = &front.plans[1];
  choice.like_comparison = ComparisonOf(0.9, {0.8, 1.05});
  choice.recommended = choice.smallest = &front.plans[2];
  choice.rows = {&front.uniform[0], &front.plans[1], &front.plans[2], &front.uniform[1]};
  return choice;
}

std::string Text(const ParetoFront& front, const SummaryOptions& options = {}) {
  return FrontSummary(front, ChoiceOf(front), options);
}

SummaryOptions Wide() {
  SummaryOptions options;
  options.width = 200;
  return options;
}

TEST(FrontSummary, AnswersInEightyColumns) {
  SummaryOptions options{.run = "my-run", .diagnosis = FragileKeys(), .width = 80};
  const std::string text = Text(SmallFront(), options);
  EXPECT_THAT(text, StartsWith("small, target kvtuner: 4 plans, 8 held-out prompts\n"));
  EXPECT_THAT(text, HasSubstr("\n*p02"));
  EXPECT_THAT(text, HasSubstr("1.0e-4 [5.0e-5, 2.0e-4]"));
  EXPECT_THAT(text, HasSubstr("1000 times the loss"));
  EXPECT_THAT(text, HasSubstr("keys of layers 0, 2 lose 61 % of the attention"));
  EXPECT_THAT(text, HasSubstr("key outlier channels"));
  EXPECT_THAT(text, HasSubstr("4.0 times the context of bf16; 1 token in 50"));
  EXPECT_THAT(text, HasSubstr("as good: 0.90 [0.80, 1.05] times the loss of KV8"));
  EXPECT_THAT(text, HasSubstr("Next: kvtune pareto export my-run --plan p02"));
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    EXPECT_LE(DisplayWidth(std::string_view(text).substr(begin, end - begin)), 80u) << text;
    begin = end + 1;
  }
}

TEST(FrontSummary, TheWholeTextIsExactlyThis) {
  SummaryOptions options{.run = "my-run", .diagnosis = FragileKeys(), .width = 200};
  EXPECT_EQ(Text(SmallFront(), options),
            "small, target kvtuner: 4 plans, 8 held-out prompts\n"
            "plan  size vs bf16  loss (KL, held-out)      same top  layers\n"
            " KV8  ######  50 %  1.0e-5 [5.0e-6, 2.0e-5]   98.00 %  all layers\n"
            " p01  #####   44 %  1.0e-5 [5.0e-6, 2.0e-5]   98.00 %  KV8; 0 K8V4\n"
            "*p02  ###     25 %  1.0e-4 [5.0e-5, 2.0e-4]   98.00 %  K8V4; 1,3 KV4\n"
            " KV4  ###     25 %  0.1 [0.05, 0.2]           98.00 %  1000 times the loss of p02\n"
            "Why not plain 4 bits: keys of layers 0, 2 lose 61 % of the attention output at int4 "
            "(others up to 7 %): key outlier channels.\n"
            "Like 8 bits    p01  44 %  as good: 0.90 [0.80, 1.05] times the loss of KV8\n"
            "Recommended    p02  25 %  4.0 times the context of bf16; 1 token in 50 differs\n"
            "KL under 0.01  p02  25 %  4.0 times the context of bf16; 1 token in 50 differs\n"
            "Next: kvtune pareto export my-run --plan p02\n"
            "All plans: kvtune pareto list my-run --all\n");
}

TEST(FrontSummary, BarsGetShorterBeforeTheyGo) {
  ParetoFront front = SmallFront();
  front.uniform[0].cost.bytes_per_token = 1440;  // nine tenths of bf16
  std::vector<ptrdiff_t> lengths;
  for (size_t width = 120; width >= 60; --width) {
    SummaryOptions options;
    options.width = width;
    const std::string text = Text(front, options);
    const std::string row = text.substr(text.find("\n KV8 ") + 1);
    const ptrdiff_t length = std::ranges::count(row.substr(0, row.find('\n')), '#');
    if (lengths.empty() || lengths.back() != length) lengths.push_back(length);
  }
  EXPECT_THAT(lengths, ElementsAre(11, 5, 0));  // of 12 columns, of 6 and of none
}

TEST(FrontSummary, ALayerAloneAndNoLayerAtAllAreSaidToBeFragile) {
  SummaryOptions options = Wide();
  options.diagnosis = FragileKeys();
  options.diagnosis->fragile.resize(1);
  options.diagnosis->fragile[0].causes = {FragilityCause::kKeyError, FragilityCause::kOutputError};
  EXPECT_THAT(Text(SmallFront(), options),
              HasSubstr("plain 4 bits: keys of layer 0 lose 61 % of the attention output at int4 "
                        "(others up to 7 %).\n"));
  const std::string none = "plain 4 bits: KV4 loses 0.1, and no single layer stands out.\n";
  options.diagnosis->safe_key = std::nullopt;
  EXPECT_THAT(Text(SmallFront(), options), HasSubstr(none));
  options.diagnosis = FragileKeys();
  options.diagnosis->fragile.clear();
  EXPECT_THAT(Text(SmallFront(), options), HasSubstr(none));
  EXPECT_THAT(Text(SmallFront(), Wide()), HasSubstr(none));  // not diagnosed
}

TEST(FrontSummary, WhatLosesNothingIsNoMeasureOfAnother) {
  ParetoFront front = SmallFront();
  front.plans[2] = PlanOf("p02", "KV4;0:K8V4;2:K8V4", 400, 0);
  front.plans[2].held_out->score.top1_agreement = 1;
  const std::string text = Text(front, Wide());
  EXPECT_THAT(text, HasSubstr("*p02  ###     25 %  0 [0, 0] "));
  EXPECT_THAT(text, HasSubstr("98.00 %  all layers\nWhy"));  // KV4, which p02 beats
  EXPECT_THAT(text, HasSubstr("4.0 times the context of bf16; no token differs\n"));
}

TEST(FrontSummary, IntervalsThatAreNotThereSayWhy) {
  ParetoFront front = SmallFront();
  SummaryChoice choice = ChoiceOf(front);
  const auto said = [&] { return FrontSummary(front, choice, Wide()); };
  front.uniform[0].held_out->loss_interval = std::nullopt;
  EXPECT_THAT(said(), HasSubstr(" 1.0e-5 [too few prompts] "));
  front.uniform[0].held_out->prompts_for_interval = 1;
  EXPECT_THAT(said(), HasSubstr(" 1.0e-5 [needs 1 prompts] "));
  choice.scores = ScoreSet::kCalibration;
  front.uniform[0].calibration_interval = Interval{2e-6, 3e-5};
  EXPECT_THAT(said(), HasSubstr(" 1.0e-5 [2.0e-6, 3.0e-5] "));
  front.uniform[0].calibration_interval = std::nullopt;
  EXPECT_THAT(said(), HasSubstr(" 1.0e-5 [too few prompts] "));
}

TEST(FrontSummary, WordsForExpertsAreNotThere) {
  const std::string text = Text(SmallFront());
  for (const char* word : {"nats", "ypervolume", "noise floor", "urrogate", "█", "#"})
    EXPECT_THAT(text, Not(HasSubstr(word)));
}

TEST(FrontSummary, APipeGetsAllPlans) {
  const std::string text = Text(SmallFront());
  for (const char* name : {"p00", "p01", "p02", "p03", "KV2"}) EXPECT_THAT(text, HasSubstr(name));
}

TEST(FrontSummary, SaysWhatMorePromptsWouldShow) {
  ParetoFront front = SmallFront();
  front.uniform[0].held_out->loss_interval = std::nullopt;
  front.uniform[0].held_out->prompts_for_interval = 24;
  SummaryChoice choice = ChoiceOf(front);
  choice.like_eight_bits = choice.reference;
  choice.undecided = &front.plans[2];
  choice.undecided_comparison = ComparisonOf(1.2, {0.9, 1.6});
  choice.undecided_comparison->prompts_to_decide = 50;
  const std::string text = FrontSummary(front, choice, Wide());
  EXPECT_THAT(text, HasSubstr("1.0e-5 [needs 24 prompts]"));
  EXPECT_THAT(text,
              HasSubstr("no smaller plan is shown to be as good; p02 may be: 1.20 [0.90, 1.60] "
                        "times the loss of KV8, about 50 held-out prompts decide"));
  choice.like_eight_bits = choice.undecided = nullptr;
  EXPECT_THAT(FrontSummary(front, choice, Wide()), HasSubstr("held-out prompts would show it"));
}

TEST(FrontSummary, SaysWhenFourBitsAreEnough) {
  ParetoFront front = SmallFront();
  front.uniform[1] = PlanOf("KV4", "KV4", 400, 2e-3);
  EXPECT_THAT(Text(front), HasSubstr("Plain 4 bits (KV4) lose 0.002, which is little."));
  front.uniform[1].held_out->score.kl_mean = 1e-3;
  EXPECT_THAT(Text(front), HasSubstr("Plain 4 bits (KV4) lose 0.001, which is little."));
  // What is little is so up to the limit itself, and then nobody asks why not.
  front.uniform[1].held_out->score.kl_mean = kSmallestLoss;
  SummaryOptions options = Wide();
  options.diagnosis = FragileKeys();
  const std::string text = Text(front, options);
  EXPECT_THAT(text, HasSubstr("Plain 4 bits (KV4) lose 0.01, which is little."));
  EXPECT_THAT(text, Not(HasSubstr("Why not")));
}

TEST(FrontSummary, SaysWhichFourBitsAreEnough) {
  const ParetoFront front = SmallFront();
  SummaryChoice choice = ChoiceOf(front);
  choice.best_four_bits = &front.plans[2];  // loses 1e-4
  SummaryOptions options = Wide();
  options.diagnosis = FragileKeys();
  EXPECT_THAT(FrontSummary(front, choice, options),
              HasSubstr("\nPlain 4 bits (p02) lose 1.0e-4, which is little.\n"
                        "Why not KV4: keys of layers 0, 2 lose 61 %"));
}

TEST(FrontSummary, LongNamesTakeTheBarsPlace) {
  SummaryOptions options;
  options.width = 80;
  ParetoFront front = SmallFront();
  EXPECT_THAT(Text(front, options), HasSubstr("size vs bf16"));
  front.uniform[0].name = "fp8_e4m3_calibrated";
  const std::string text = FrontSummary(front, ChoiceOf(front), options);
  EXPECT_THAT(text, HasSubstr("\n fp8_e4m3_calibrated   50 %    1.0e-5 [5.0e-6, 2.0e-5]  "));
  EXPECT_THAT(text, HasSubstr(" of bf16 "));
  EXPECT_THAT(text, Not(HasSubstr("size vs bf16")));
  EXPECT_THAT(text, HasSubstr("same top"));
}

TEST(FrontSummary, APlanInFewLetters) {
  const auto text = [](std::string_view spec) {
    return ShortPlanText(ParsePlanSpec(spec, 10, NinePairs()));
  };
  EXPECT_EQ(text("KV4"), "KV4");
  EXPECT_EQ(text("KV4;0:K8V2;5:K8V2;7-8:KV8"), "KV4; 0,5 K8V2; 7-8 KV8");
}

TEST(FrontSummary, ShowsTimesAndTheFastestPlan) {
  ParetoFront front = SmallFront();
  front.latency = LatencySource{.device = "a device", .setting = {8, 8192}, .table = "xxh3:0"};
  for (ScoredPlan* plan : AllPlans(front)) plan->cost.latency_ms = plan->cost.bytes_per_token / 200;
  SummaryChoice choice;
  choice.scores = ScoreSet::kHeldOut;
  choice.fastest = &front.plans[2];
  choice.rows = {&front.uniform[0], &front.plans[2]};
  const std::string text =
      FrontSummary(front, choice, {.run = "run", .diagnosis = {}, .width = 120});
  EXPECT_THAT(text, HasSubstr("\nplan  size vs bf16     ms  loss (KL, held-out) "));
  EXPECT_THAT(text, HasSubstr("\n p02  ###     25 %  2.000  1.0e-4 [5.0e-5, 2.0e-4] "));
  EXPECT_THAT(text, HasSubstr("Fastest of these  p02  25 %  2.000 ms of attention, bf16 takes 4 "
                              "times as long; 1 token in 50 differs"));
  // A time of nothing is the measure of none.
  front.plans[2].cost.latency_ms = 0;
  EXPECT_THAT(FrontSummary(front, choice, {.run = "run", .diagnosis = {}, .width = 120}),
              HasSubstr("  p02  25 %  0.0000 ms of attention; 1 token in 50 differs"));
}

}  // namespace
}  // namespace kvtune
