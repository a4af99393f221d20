#include "lib/report/front_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ScoredPlan PlanOf(std::string name, std::string_view spec, double bytes, double kl) {
  ScoredPlan plan;
  plan.name = std::move(name);
  plan.plan = ParsePlanSpec(spec, 2, NinePairs());
  plan.cost = {.nominal_bits = 4, .effective_bits = 4.5, .bytes_per_token = bytes};
  plan.calibration.kl_mean = kl;
  plan.calibration.kl_p999 = 10 * kl;
  return plan;
}

// p00 beats KV4 at fewer bytes; p01 is KV2 itself.
ParetoFront SmallFront() {
  ParetoFront front;
  front.plans = {PlanOf("p00", "KV4;0:K8V2", 400, 0.01), PlanOf("p01", "KV2", 200, 0.5)};
  front.uniform = {PlanOf("KV4", "KV4", 420, 0.04), PlanOf("KV2", "KV2", 200, 0.5)};
  front.reference = PlanOf("exact", "exact", 1600, 0);
  return front;
}

void AddHeldOut(ScoredPlan& plan, double kl) {
  plan.held_out =
      HeldOutScore{.score = plan.calibration, .loss_interval = Interval{kl / 2, kl * 2}};
  plan.held_out->score.kl_mean = kl;
}

TEST(FrontTable, ComparesAtEqualOrFewerBytes) {
  const ParetoFront front = SmallFront();
  const std::vector<UniformComparison> comparisons = CompareWithUniform(front);
  ASSERT_EQ(comparisons.size(), 2u);
  ASSERT_NE(comparisons[0].beaten_by, nullptr);
  EXPECT_EQ(comparisons[0].beaten_by->name, "p00");
  EXPECT_EQ(comparisons[1].beaten_by, nullptr);
}

TEST(FrontTable, PagePaddingIsSaidWhereThereIsSome) {
  ParetoFront front = SmallFront();
  front.run.target = "vllm";
  EXPECT_EQ(PaddingSentence(front), "");
  for (std::vector<ScoredPlan>* plans : {&front.plans, &front.uniform}) {
    for (ScoredPlan& plan : *plans) plan.cost.padded_bytes_per_token = plan.cost.bytes_per_token;
  }
  const std::string begin =
      "Some layers have sliding windows: vllm may pad the pages of all layers to one size, and "
      "then ";
  EXPECT_EQ(PaddingSentence(front),
            begin + "a plan of several formats takes more bytes per token; no plan here does.\n");
  front.plans[0].cost.padded_bytes_per_token = 500;
  EXPECT_EQ(PaddingSentence(front), begin + "p00 takes 500 bytes per token, not 400.\n");
  // p01 is KV2 of the uniform plans, which counts once.
  front.plans[1].cost.padded_bytes_per_token = front.uniform[1].cost.padded_bytes_per_token = 260;
  EXPECT_EQ(PaddingSentence(front),
            begin + "p01 takes 260 bytes per token, not 200, the most of 2 such plans.\n");
  EXPECT_EQ(PaddingSentence(std::span(&front.plans[0], 1), "modelopt"),
            "Some layers have sliding windows: modelopt may pad the pages of all layers to one "
            "size, and then p00 takes "
            "500 bytes per token, not 400.\n");
}

TEST(FrontTable, RoundingOfBytesIsNoPadding) {
  const auto is_said = [](double bytes, double padded) {
    ScoredPlan plan = PlanOf("p00", "KV4", bytes, 0.01);
    plan.cost.padded_bytes_per_token = padded;
    const std::string text = PaddingSentence(std::span(&plan, 1), "vllm");
    return text.find("no plan here does") == std::string::npos;
  };
  EXPECT_FALSE(is_said(1, 1 + 1e-9));
  EXPECT_TRUE(is_said(1, 1 + 2e-9));
  EXPECT_TRUE(is_said(400, 401));
}

TEST(FrontTable, MorePlansWithMoreBytesDoNotBeat) {
  ParetoFront front = SmallFront();
  front.plans[0].cost.bytes_per_token = 421;
  EXPECT_EQ(CompareWithUniform(front)[0].beaten_by, nullptr);
}

TEST(FrontTable, PlansCloserThanTheNoiseFloorAreTies) {
  ParetoFront front = SmallFront();
  front.plans.insert(front.plans.begin(), PlanOf("p9", "KV8", 800, 0.004));
  EXPECT_EQ(SmallestTie(front, front.plans[0]), nullptr);  // no floor is known
  EXPECT_EQ(TieSentence(front), "");
  front.run.dtype = "bfloat16";
  front.run.noise_floor = 0.006 + 1e-9;
  EXPECT_EQ(SmallestTie(front, front.plans[0])->name, "p00");
  EXPECT_EQ(SmallestTie(front, front.plans[1]),
            nullptr);  // the larger one is no tie of the smaller
  EXPECT_THAT(FrontTable(front, 0), HasSubstr("uniform = p00"));
  EXPECT_EQ(TieSentence(front),
            "=: a smaller plan whose KL differs by less than 0.006, which rounding in bfloat16 "
            "makes of any score.\n");
  front.run.noise_floor = 0.006 - 1e-9;
  EXPECT_EQ(SmallestTie(front, front.plans[0]), nullptr);
  EXPECT_EQ(TieSentence(front), "");
}

TEST(FrontTable, ADifferenceOfTheNoiseFloorItselfIsNoTie) {
  ParetoFront front = SmallFront();
  front.plans = {PlanOf("p00", "KV8", 800, 0.25), PlanOf("p01", "KV4;0:K8V2", 400, 0.5)};
  front.run.noise_floor = 0.25;
  EXPECT_EQ(SmallestTie(front, front.plans[0]), nullptr);
  front.run.noise_floor = 0.26;
  ASSERT_NE(SmallestTie(front, front.plans[0]), nullptr);
}

TEST(FrontTable, TheSmallestOfSeveralTiesIsNamed) {
  ParetoFront front = SmallFront();
  front.plans = {PlanOf("p00", "KV8", 800, 0.25), PlanOf("p01", "KV4;0:K8V2", 400, 0.25),
                 PlanOf("p02", "KV4;1:K8V2", 300, 0.25), PlanOf("p03", "KV4", 300, 0.25),
                 PlanOf("p04", "K8V4", 500, 0.25)};
  front.run.noise_floor = 0.01;
  for (const size_t larger : {0u, 1u, 4u})
    EXPECT_EQ(SmallestTie(front, front.plans[larger])->name, "p02") << larger;
  for (const size_t smallest : {2u, 3u})
    EXPECT_EQ(SmallestTie(front, front.plans[smallest]), nullptr) << smallest;
}

TEST(FrontTable, AUniformPlanIsNotBeatenByLessThanTheNoiseFloor) {
  ParetoFront front = SmallFront();  // 0.04 against 0.01
  front.run.noise_floor = 0.029;
  EXPECT_NE(CompareWithUniform(front)[0].beaten_by, nullptr);
  front.run.noise_floor = 0.031;
  EXPECT_EQ(CompareWithUniform(front)[0].beaten_by, nullptr);
}

TEST(FrontTable, SentenceCountsAndMeasures) {
  EXPECT_EQ(UniformSentence(SmallFront()),
            "Layer-wise plans beat 1 of 2 uniform plans at equal or fewer bytes: the KL of the "
            "uniform plan is 4 times as high.\n");
}

TEST(FrontTable, SentenceSaysWhenTheFrontBeatsNone) {
  ParetoFront front = SmallFront();
  front.plans = {front.plans[1]};
  EXPECT_THAT(UniformSentence(front), HasSubstr("beats any of the 2 uniform plans"));
}

TEST(FrontTable, AStoppedSearchSaysNothingOfPlansThatItDidNotScore) {
  ParetoFront front = SmallFront();
  front.search.emplace();
  front.search->stop_reason = "stopped after scouting single layers";
  front.search->distinct_plans = 3;
  EXPECT_EQ(UniformSentence(front),
            "So far only the 2 uniform plans are scored, and no other one.\n");
  front.search->stop_reason = "the limit of 2 evaluations is reached";
  EXPECT_EQ(UniformSentence(front),
            "So far only the 2 uniform plans are scored, and no other one.\n");
  front.search->exhaustive = true;
  EXPECT_EQ(UniformSentence(front), "There are only the 2 uniform plans, and all are scored.\n");
  front.search->distinct_plans = 4;
  EXPECT_THAT(UniformSentence(front), HasSubstr("Layer-wise plans beat"));
  front.search->answers.emplace();  // its plans were chosen by other things than losses
  EXPECT_EQ(UniformSentence(front), "");
}

TEST(FrontTable, HeldOutScoresDecideWhereAllHaveThem) {
  ParetoFront front = SmallFront();
  AddHeldOut(front.plans[0], 0.08);  // worse than KV4 on prompts that it was not chosen on
  AddHeldOut(front.plans[1], 0.5);
  AddHeldOut(front.uniform[0], 0.05);
  EXPECT_EQ(ComparableScores(front), ScoreSet::kCalibration);
  AddHeldOut(front.uniform[1], 0.5);
  EXPECT_EQ(ComparableScores(front), ScoreSet::kHeldOut);
  EXPECT_THAT(UniformSentence(front), HasSubstr("(by held-out KL)"));
}

TEST(FrontTable, TableListsEveryPlanOnce) {
  const std::string table = FrontTable(SmallFront(), 0);
  EXPECT_THAT(table, HasSubstr("\nKV4   uniform < p00 "));
  EXPECT_THAT(table, HasSubstr("\np00 "));
  EXPECT_THAT(table, HasSubstr("\np01   uniform "));
  EXPECT_THAT(table, Not(HasSubstr("\nKV2 ")));  // it is p01
  EXPECT_LT(table.find("\nKV4 "), table.find("\np00 "));
}

TEST(FrontTable, OfPlansOfEqualBytesThoseOfTheFrontComeFirst) {
  ParetoFront front = SmallFront();
  front.uniform[0].cost.bytes_per_token = 400;
  const std::string table = FrontTable(front, 0);
  EXPECT_LT(table.find("\np00 "), table.find("\nKV4 "));
  EXPECT_LT(table.find("\nKV4 "), table.find("\np01 "));
}

TEST(FrontTable, UniformPlansOfTheFrontDoNotCountAsFound) {
  ParetoFront front = SmallFront();
  front.plans[0].plan = front.plans[1].plan;
  EXPECT_EQ(CompareWithUniform(front)[0].beaten_by, nullptr);
}

TEST(FrontTable, NarrowTerminalsGetFewerColumns) {
  ParetoFront front = SmallFront();
  for (std::vector<ScoredPlan>* plans : {&front.plans, &front.uniform}) {
    for (ScoredPlan& plan : *plans) {
      plan.calibration.total_variation = 0.125;
      plan.calibration.effective_tokens = 30;
      AddHeldOut(plan, 0.02);
    }
  }
  const auto header = [&](size_t width) {
    const std::string table = FrontTable(front, width);
    return table.substr(0, table.find('\n'));
  };
  // The order in which columns go: expected acceptance, effective tokens, nominal bits, calibration
  // loss, tail, bytes, top-1, marks.
  const std::vector<std::string> columns = {"accept",    "eff. tokens", "  bits", "  KL ",
                                            "KL 99.9 %", "bytes/token", "top-1"};
  size_t gone = 0;
  for (size_t width = 160; width >= 60; --width) {
    const std::string shown = header(width);
    EXPECT_LE(shown.size(), width);
    EXPECT_THAT(shown, HasSubstr("held-out KL [95 %]")) << width;
    while (gone < columns.size() && shown.find(columns[gone]) == std::string::npos) ++gone;
    for (size_t i = gone; i < columns.size(); ++i) EXPECT_THAT(shown, HasSubstr(columns[i]));
  }
  EXPECT_EQ(gone, columns.size());
  EXPECT_THAT(header(35), Not(HasSubstr("[95 %]")));  // the interval goes last
}

TEST(FrontTable, WithoutHeldOutScoresTheCalibrationLossStaysHoweverNarrow) {
  const std::string table = PlanTable(SmallFront().plans, 40);
  const std::string header = table.substr(0, table.find('\n'));
  EXPECT_THAT(header, HasSubstr("  KL"));
  EXPECT_THAT(header, Not(HasSubstr("top-1")));
}

TEST(FrontTable, LossesAreShort) {
  EXPECT_EQ(LossText(0), "0");
  EXPECT_EQ(LossText(7.5e-5), "7.50e-5");
  EXPECT_EQ(LossText(0.0126), "0.0126");
  EXPECT_EQ(LossText(1.32e-13), "1.32e-13");
  EXPECT_EQ(LossText(17.83), "17.8");
  EXPECT_EQ(LossText(0.001), "0.001");
  EXPECT_EQ(LossText(0.000999), "9.99e-4");
  EXPECT_EQ(LossText(10000), "1.00e4");
}

TEST(FrontTable, MarksAreExplainedWhereTheyOccur) {
  EXPECT_THAT(FrontTable(SmallFront(), 0), HasSubstr("\n<: the plan that is named loses less"));
  ParetoFront front = SmallFront();
  front.uniform = {front.uniform[1]};
  EXPECT_THAT(FrontTable(front, 0), Not(HasSubstr("<:")));
  AddHeldOut(front.plans[0], 0.02);
  front.plans[0].calibration_interval = Interval{0.005, 0.015};
  EXPECT_THAT(FrontTable(front, 0), HasSubstr("\n!: outside the interval"));
}

TEST(FrontTable, HeldOutColumnOnlyWhereThereIsOne) {
  ParetoFront front = SmallFront();
  EXPECT_THAT(PlanTable(front.plans, 0), Not(HasSubstr("held-out")));
  AddHeldOut(front.plans[0], 0.02);
  EXPECT_THAT(PlanTable(front.plans, 0), HasSubstr("0.02 [0.01, 0.04]"));
}

TEST(FrontTable, AnIntervalThatIsNotClaimedSaysWhatWouldAllowIt) {
  ParetoFront front = SmallFront();
  AddHeldOut(front.plans[0], 0.02);
  front.plans[0].held_out->loss_interval = std::nullopt;
  front.plans[0].held_out->prompts_for_interval = 40;
  EXPECT_THAT(PlanTable(front.plans, 0), HasSubstr("0.02 [40 prompts needed]"));
}

TEST(FrontTable, HeldOutLossThatLeavesTheCalibrationIntervalIsMarked) {
  ParetoFront front = SmallFront();
  AddHeldOut(front.plans[0], 0.02);
  for (const Interval& promised : {Interval{0.01, 0.02}, Interval{0.02, 0.03}}) {
    front.plans[0].calibration_interval = promised;
    EXPECT_THAT(PlanTable(front.plans, 0), Not(HasSubstr("!")));
  }
  for (const Interval& promised : {Interval{0.005, 0.0199}, Interval{0.0201, 0.03}}) {
    front.plans[0].calibration_interval = promised;
    EXPECT_THAT(PlanTable(front.plans, 0), HasSubstr("0.02 [0.01, 0.04] !"));
  }
}

TEST(FrontTable, SearchSentencesSayWhatWasDone) {
  ParetoFront front = SmallFront();
  EXPECT_EQ(SearchSentences(front), "");
  front.search = SearchSummary{.algorithm = "nsga2",
                               .stop_reason = "2 generations are done",
                               .distinct_plans = 40,
                               .prompt_scores = 300,
                               .prompt_scores_saved = 100,
                               .surrogate_hypervolume = 50};
  front.search->generations = {{.hypervolume = 30}, {.generation = 1, .hypervolume = 45}};
  EXPECT_EQ(SearchSentences(front),
            "Searched with nsga2: 40 plans, 300 of 400 prompt-scores (25 % saved by racing); 2 "
            "generations are done.\n"
            "Hypervolume by generation: 30, 45; the last is 90.0 % of the surrogate's exact "
            "front.\n");
  front.search->surrogate_hypervolume = 0.5;
  front.search->generations = {{.hypervolume = 0.25}};
  EXPECT_THAT(SearchSentences(front), HasSubstr("by generation: 0.25; the last is 50.0 % of"));
  front.search->generations.clear();
  EXPECT_THAT(SearchSentences(front), HasSubstr("by generation: .\n"));
}

// A draft of tokens is accepted as often as the two distributions overlap.
TEST(FrontTable, AcceptanceIsOneMinusTheTotalVariation) {
  ParetoFront front = SmallFront();
  EXPECT_THAT(PlanTable(front.plans, 0), Not(HasSubstr("accept")));
  front.plans[0].calibration.total_variation = 0.125;
  front.plans[1].calibration.effective_tokens = 12.25;
  EXPECT_EQ(PlanTable(front.plans, 0),
            "plan  eff. bits  bits  bytes/token    KL  KL 99.9 %   top-1  accept  eff. tokens  "
            "layers\n"
            "p00        4.50  4.00          400  0.01        0.1  1.0000  0.8750            -  "
            "K8V2;1:KV4\n"
            "p01        4.50  4.00          200   0.5          5  1.0000       -           12  "
            "KV2\n");
}

// A front with everything that a table can show.
ParetoFront FullFront() {
  ParetoFront front = SmallFront();
  front.plans.insert(front.plans.begin(), PlanOf("p9", "KV8", 800, 0.004));
  front.run.noise_floor = 0.008;  // more than between p9 and p00 on held-out prompts
  front.run.dtype = "bfloat16";
  for (std::vector<ScoredPlan>* plans : {&front.plans, &front.uniform}) {
    for (ScoredPlan& plan : *plans) {
      AddHeldOut(plan, 1.25 * plan.calibration.kl_mean);
      plan.calibration.top1_agreement = 0.9375;
      plan.calibration_interval = Interval{plan.calibration.kl_mean, 2 * plan.calibration.kl_mean};
    }
  }
  front.plans[1].calibration_interval = Interval{0.001, 0.002};
  return front;
}

TEST(FrontTable, EveryColumnAndMarkIsExactlyThis) {
  const ParetoFront front = FullFront();
  EXPECT_EQ(FrontTable(front, 0),
            "plan                 eff. bits  bits  bytes/token     KL  KL 99.9 %   top-1         "
            "held-out KL [95 %]  layers\np9    uniform = p00       4.50  4.00          800  0.004  "
            "     0.04  0.9375       0.005 [0.0025, 0.01]  KV8\nKV4   uniform < p00       4.50  "
            "4.00          420   0.04        0.4  0.9375          0.05 [0.025, 0.1]  KV4\np00      "
            "                 4.50  4.00          400   0.01        0.1  0.9375  0.0125 [0.00625, "
            "0.025] !  K8V2;1:KV4\np01   uniform             4.50  4.00          200    0.5        "
            "  5  0.9375        0.625 [0.312, 1.25]  KV2\n"
            "<: the plan that is named loses less at no more bytes.\n"
            "!: outside the interval that the calibration prompts gave; these prompts are not "
            "enough to know the loss well.\n");
  EXPECT_EQ(PlanTable(std::span(front.plans).first(1), 0),
            "plan  eff. bits  bits  bytes/token     KL  KL 99.9 %   top-1    held-out KL [95 %]  "
            "layers\np9         4.50  4.00          800  0.004       0.04  0.9375  0.005 [0.0025, "
            "0.01]  KV8\n");
}

TEST(FrontTable, WithoutANoiseFloorNothingIsATie) {
  ParetoFront front = SmallFront();
  front.plans.insert(front.plans.begin(), PlanOf("p9", "KV8", 800, 0.01));  // loses as p00 does
  front.run.noise_floor.reset();
  EXPECT_THAT(FrontTable(front, 0), Not(HasSubstr(" = ")));
  EXPECT_THAT(FrontTable(front, 0), Not(HasSubstr("=: a smaller plan")));
}

TEST(FrontTable, SentenceHasTheRangeOfSeveralRatios) {
  ParetoFront front = SmallFront();
  front.uniform.push_back(PlanOf("K8V4", "K8V4", 600, 0.03));
  front.uniform.push_back(PlanOf("KV8", "KV8", 800, 0.02));
  EXPECT_EQ(UniformSentence(front),
            "Layer-wise plans beat 3 of 4 uniform plans at equal or fewer bytes: the KL of the "
            "uniform plan is 2 to 4 times (median 3) as high.\n");
  front.plans[0].calibration.kl_mean = 0;
  EXPECT_EQ(UniformSentence(front),
            "Layer-wise plans beat 3 of 4 uniform plans at equal or fewer bytes.\n");
  front.uniform.clear();
  EXPECT_EQ(UniformSentence(front), "");
}

TEST(FrontTable, PlansOfEqualBytesBeatAndOfEqualLossDoNot) {
  ParetoFront front = SmallFront();
  front.plans[0].cost.bytes_per_token = 420;
  EXPECT_NE(CompareWithUniform(front)[0].beaten_by, nullptr);
  front.plans[0].calibration.kl_mean = 0.04;
  EXPECT_EQ(CompareWithUniform(front)[0].beaten_by, nullptr);
  // Of two that beat it, the one that loses less.
  front.plans = {PlanOf("p00", "KV4;0:K8V2", 400, 0.02), PlanOf("p01", "KV4;1:K8V2", 410, 0.01)};
  EXPECT_EQ(CompareWithUniform(front)[0].beaten_by->name, "p01");
  std::swap(front.plans[0], front.plans[1]);
  EXPECT_EQ(CompareWithUniform(front)[0].beaten_by->name, "p01");
}

TEST(FrontTable, SearchSentencesWithoutASurrogateOrScores) {
  ParetoFront front = SmallFront();
  front.search.emplace();
  front.search->algorithm = "random";
  front.search->stop_reason = "done";
  EXPECT_EQ(SearchSentences(front),
            "Searched with random: 0 plans, 0 of 0 prompt-scores (0 % saved by racing); done.\n"
            "Hypervolume by generation: .\n");
  front.search->generations = {{.hypervolume = 30}};
  front.search->surrogate_hypervolume = 0;
  EXPECT_EQ(SearchSentences(front),
            "Searched with random: 0 plans, 0 of 0 prompt-scores (0 % saved by racing); done.\n"
            "Hypervolume by generation: 30.\n");
}

TEST(FrontTable, TimesAreAColumnWhereTheyAreKnown) {
  ParetoFront front = SmallFront();
  EXPECT_EQ(LatencySentence(front), "");
  EXPECT_THAT(FrontTable(front, 0), Not(HasSubstr(" ms ")));
  front.latency = LatencySource{.device = "a device", .setting = {8, 8192}, .table = "xxh3:0"};
  double milliseconds = 0.5;
  for (ScoredPlan* plan : AllPlans(front)) plan->cost.latency_ms = milliseconds *= 2;
  const std::string table = FrontTable(front, 0);
  EXPECT_THAT(table, HasSubstr("bytes/token     ms"));
  EXPECT_THAT(table, HasSubstr("400  1.000"));
  EXPECT_EQ(LatencySentence(front),
            "ms: attention of all layers in a decode step of 8 sequences with 8k tokens each, "
            "measured on a device.\n");
  EXPECT_THAT(table, HasSubstr("loses less at no more bytes and in no more time.\n"));
  // A plan that is slower beats no uniform plan.
  front.plans[0].cost.latency_ms = 100;
  EXPECT_EQ(CompareWithUniform(front)[0].beaten_by, nullptr);
  EXPECT_THAT(UniformSentence(front), HasSubstr("at equal or fewer bytes and in no more time"));
}

}  // namespace
}  // namespace kvtune
