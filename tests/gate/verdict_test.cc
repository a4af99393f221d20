#include "lib/gate/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "lib/base/ratio_interval.h"
#include "tests/gate/gate_test_data.h"

namespace kvtune {
namespace {

const MetricVerdict& Of(const std::vector<MetricVerdict>& verdicts, Metric metric) {
  return *std::ranges::find(verdicts, metric, &MetricVerdict::metric);
}

const std::vector<float> kBefore = {0.10F, 0.20F, 0.05F, 0.40F, 0.15F, 0.30F};

std::vector<float> Plus(const std::vector<float>& values, const std::vector<float>& changes) {
  std::vector<float> sums = values;
  for (size_t i = 0; i < sums.size(); ++i) sums[i] += changes[i];
  return sums;
}

TEST(Verdict, IdenticalNumbersAreTheSame) {
  for (const MetricVerdict& verdict :
       Judge(EvenMeasurement(kBefore), EvenMeasurement(kBefore), {})) {
    EXPECT_EQ(verdict.outcome, Outcome::kSame) << MetricName(verdict.metric);
    EXPECT_EQ(verdict.change, (Interval{0, 0}));
  }
}

// Prompts differ eightfold, so that two independent intervals of the mean would overlap; the paired
// one does not.
TEST(Verdict, ASmallChangeOfEveryPromptIsWorse) {
  const std::vector<float> after = Plus(kBefore, {0.02F, 0.025F, 0.02F, 0.03F, 0.02F, 0.02F});
  const MetricVerdict kl =
      Of(Judge(EvenMeasurement(kBefore), EvenMeasurement(after), {}), Metric::kKlMean);
  EXPECT_EQ(kl.outcome, Outcome::kWorse);
  EXPECT_NEAR(kl.before, 0.2, 1e-7);
  EXPECT_NEAR(kl.after - kl.before, 0.0225, 1e-7);
  EXPECT_GT(kl.change.low, kl.allowed);
  EXPECT_LT(kl.change.high, 0.06);
  const MetricVerdict back =
      Of(Judge(EvenMeasurement(after), EvenMeasurement(kBefore), {}), Metric::kKlMean);
  EXPECT_EQ(back.outcome, Outcome::kBetter);
}

TEST(Verdict, TheSameMeanChangeOfFewPromptsIsExplained) {
  const std::vector<float> after = Plus(kBefore, {0.235F, -0.02F, -0.02F, -0.02F, -0.02F, -0.02F});
  const MetricVerdict kl =
      Of(Judge(EvenMeasurement(kBefore), EvenMeasurement(after), {}), Metric::kKlMean);
  EXPECT_GT(kl.after - kl.before, kl.allowed);
  EXPECT_LT(kl.change.low, 0);
  EXPECT_EQ(kl.outcome, Outcome::kExplained);
  // Nor is the way back an improvement: perhaps nothing became better.
  const MetricVerdict back =
      Of(Judge(EvenMeasurement(after), EvenMeasurement(kBefore), {}), Metric::kKlMean);
  EXPECT_LT(back.change.low, -back.allowed);
  EXPECT_GT(back.change.high, 0);
  EXPECT_EQ(back.outcome, Outcome::kExplained);
}

// Every prompt by the same amount: the interval has no width, and decides nonetheless.
TEST(Verdict, WithoutVarianceTheToleranceDecides) {
  const auto outcome = [](float change, double tolerance) {
    const std::vector<float> before(6, 0.5F);
    const std::vector<float> after(6, 0.5F + change);
    VerdictOptions options;
    options.limits.relative[Metric::kKlMean] = 0;
    options.limits.tolerance[Metric::kKlMean] = tolerance;
    return Of(Judge(EvenMeasurement(before), EvenMeasurement(after), options), Metric::kKlMean)
        .outcome;
  };
  EXPECT_EQ(outcome(0.25F, 0.26), Outcome::kWithinTolerance);
  EXPECT_EQ(outcome(0.25F, 0.24), Outcome::kWorse);
  EXPECT_EQ(outcome(-0.25F, 0.24), Outcome::kBetter);
}

TEST(Verdict, TopOneAgreementIsWorseWhenItFalls) {
  Measurement after = EvenMeasurement(kBefore);
  for (PromptScore& prompt : after.prompts) prompt.top1_matches = 8;
  EXPECT_EQ(Of(Judge(EvenMeasurement(kBefore), after, {}), Metric::kTop1Agreement).outcome,
            Outcome::kWorse);
  EXPECT_EQ(Of(Judge(after, EvenMeasurement(kBefore), {}), Metric::kTop1Agreement).outcome,
            Outcome::kBetter);
}

TEST(Verdict, OneByteMoreIsWorse) {
  const auto verdicts = Judge(EvenMeasurement(kBefore, 100), EvenMeasurement(kBefore, 101), {});
  EXPECT_EQ(Of(verdicts, Metric::kBytesPerToken).outcome, Outcome::kWorse);
  EXPECT_EQ(Of(verdicts, Metric::kKlMean).outcome, Outcome::kSame);
}

// A change of what is allowed is within it, and one more is not: in either direction, and whether
// more or less is worse.
TEST(Verdict, TheToleranceItselfIsAllowed) {
  const auto outcome = [](Metric metric, const Measurement& before, const Measurement& after) {
    VerdictOptions options;
    options.limits.tolerance = {{Metric::kBytesPerToken, 8}, {Metric::kTop1Agreement, 0.25}};
    return Of(Judge(before, after, options), metric).outcome;
  };
  const auto of_bytes = [&](double before, double after) {
    return outcome(Metric::kBytesPerToken, EvenMeasurement(kBefore, before),
                   EvenMeasurement(kBefore, after));
  };
  EXPECT_EQ(of_bytes(100, 108), Outcome::kWithinTolerance);
  EXPECT_EQ(of_bytes(108, 100), Outcome::kWithinTolerance);
  EXPECT_EQ(of_bytes(100, 109), Outcome::kWorse);
  EXPECT_EQ(of_bytes(109, 100), Outcome::kBetter);
  const auto of_top1 = [&](int64_t before, int64_t after) {  // of 8 tokens
    std::vector<Measurement> measured;
    for (const int64_t matches : {before, after}) {
      measured.push_back(EvenMeasurement(kBefore));
      for (PromptScore& prompt : measured.back().prompts) {
        prompt.tokens = 8;
        prompt.top1_matches = matches;
      }
    }
    return outcome(Metric::kTop1Agreement, measured[0], measured[1]);
  };
  EXPECT_EQ(of_top1(8, 6), Outcome::kWithinTolerance);
  EXPECT_EQ(of_top1(6, 8), Outcome::kWithinTolerance);
  EXPECT_EQ(of_top1(8, 5), Outcome::kWorse);
  EXPECT_EQ(of_top1(5, 8), Outcome::kBetter);
}

TEST(Verdict, LimitsHoldWhateverTheBaselineWas) {
  VerdictOptions options;
  options.limits.absolute[Metric::kKlMean] = 0.1;
  options.limits.absolute[Metric::kTop1Agreement] = 0.95;
  options.limits.absolute[Metric::kBytesPerToken] = 100;
  const auto verdicts = Judge(EvenMeasurement(kBefore), EvenMeasurement(kBefore), options);
  EXPECT_EQ(Of(verdicts, Metric::kKlMean).outcome, Outcome::kOverLimit);
  EXPECT_EQ(Of(verdicts, Metric::kTop1Agreement).outcome, Outcome::kOverLimit);
  EXPECT_EQ(Of(verdicts, Metric::kBytesPerToken).outcome, Outcome::kSame);  // at the limit
}

MetricVerdict Accuracy(const Measurement& before, const Measurement& after,
                       const VerdictOptions& options = {}) {
  return Of(Judge(before, after, options), Metric::kAccuracy);
}

TEST(Verdict, AnswersAreComparedItemByItem) {
  const Measurement before = AnsweredMeasurement(100, 90);
  EXPECT_EQ(Accuracy(before, before).outcome, Outcome::kSame);
  EXPECT_EQ(Accuracy(before, before).change, (Interval{0, 0}));
  const MetricVerdict worse = Accuracy(before, AnsweredMeasurement(100, 80));
  EXPECT_EQ(worse.before, 0.9);
  EXPECT_EQ(worse.after, 0.8);
  EXPECT_EQ(worse.outcome, Outcome::kWorse);
  EXPECT_EQ(worse.flips->lost, 10);
  EXPECT_EQ(worse.flips->gained, 0);
  EXPECT_EQ(Accuracy(AnsweredMeasurement(100, 80), before).outcome, Outcome::kBetter);
  // The same loss in all, with as many flips again in either direction, may be chance.
  Measurement mixed = before;
  for (size_t i = 0; i < 20; ++i) mixed.answers[i] = 0;
  for (size_t i = 90; i < 100; ++i) mixed.answers[i] = 1;
  const MetricVerdict explained = Accuracy(before, mixed);
  EXPECT_EQ(explained.after, worse.after);
  EXPECT_EQ(explained.outcome, Outcome::kExplained);
  // As many right answers to other items.
  mixed.answers.assign(100, 1);
  std::fill_n(mixed.answers.begin(), 10, 0);
  EXPECT_EQ(Accuracy(before, mixed).outcome, Outcome::kWithinTolerance);
}

TEST(Verdict, AFewLostAnswersMayBeChance) {
  // Five of five at 95 %: the approximate interval leaves out 0, the exact test does not reject.
  VerdictOptions options;
  options.confidence = 0.95;
  const Measurement before = AnsweredMeasurement(100, 100);
  EXPECT_LT(DifferenceInterval({.items = 100, .lost = 5}).high, 0);
  EXPECT_EQ(Accuracy(before, AnsweredMeasurement(100, 95), options).outcome, Outcome::kExplained);
  EXPECT_EQ(Accuracy(before, AnsweredMeasurement(100, 94), options).outcome, Outcome::kWorse);
}

TEST(Verdict, AccuracyHasALimitAndATolerance) {
  const Measurement before = AnsweredMeasurement(100, 90), after = AnsweredMeasurement(100, 70);
  VerdictOptions options;
  options.limits.tolerance[Metric::kAccuracy] = 0.21;
  EXPECT_EQ(Accuracy(before, after, options).outcome, Outcome::kWithinTolerance);
  options.limits.tolerance[Metric::kAccuracy] = 0.05;
  EXPECT_EQ(Accuracy(before, after, options).outcome, Outcome::kWorse);
  options.limits.tolerance[Metric::kAccuracy] = 0.15;  // less than 20 lost answers may be true
  EXPECT_EQ(Accuracy(before, after, options).outcome, Outcome::kExplained);
  options.limits.absolute[Metric::kAccuracy] = 0.75;
  EXPECT_EQ(Accuracy(before, after, options).outcome, Outcome::kOverLimit);
  const auto by_limits = JudgeLimits(after, options.limits);
  EXPECT_EQ(Of(by_limits, Metric::kAccuracy).outcome, Outcome::kOverLimit);
  EXPECT_EQ(JudgeLimits(EvenMeasurement(kBefore), {}).size(), 5u);  // there is no task
}

TEST(Verdict, InAnotherTypeOnlyTheExactAnswersAreCompared) {
  VerdictOptions options;
  options.types = TypeComparison::kOther;
  options.rounding = 1;
  const Measurement before = AnsweredMeasurement(100, 90), after = AnsweredMeasurement(100, 70);
  EXPECT_EQ(Accuracy(before, after, options).outcome, Outcome::kNotComparable);
  options.answers = AnswerReference::kExact;
  EXPECT_EQ(Accuracy(before, after, options).outcome, Outcome::kWorse);
}

TEST(Verdict, OtherTypesCompareTheMeanAlone) {
  const std::vector<float> after = Plus(kBefore, std::vector<float>(6, 0.05F));
  VerdictOptions options;
  options.types = TypeComparison::kOther;
  options.rounding = 0.1;
  auto verdicts = Judge(EvenMeasurement(kBefore), EvenMeasurement(after), options);
  EXPECT_EQ(Of(verdicts, Metric::kKlMean).outcome, Outcome::kWithinTolerance);
  EXPECT_EQ(Of(verdicts, Metric::kKlP999).outcome, Outcome::kNotComparable);
  EXPECT_EQ(Of(verdicts, Metric::kDeltaNll).outcome, Outcome::kNotComparable);
  options.rounding = 0.01;
  verdicts = Judge(EvenMeasurement(kBefore), EvenMeasurement(after), options);
  EXPECT_EQ(Of(verdicts, Metric::kKlMean).outcome, Outcome::kWorse);
}

TEST(Verdict, ALimitBrokenInAnotherTypeIsNotClear) {
  const std::vector<float> after = Plus(kBefore, std::vector<float>(6, 0.05F));
  VerdictOptions options;
  options.types = TypeComparison::kOther;
  options.rounding = 0.1;
  const Measurement measured = EvenMeasurement(after);
  options.limits.absolute = {
      {Metric::kKlMean, ValueOf(measured, Metric::kKlMean) - 0.01},
      {Metric::kKlP999, ValueOf(measured, Metric::kKlP999) - 0.01},
      {Metric::kBytesPerToken, ValueOf(measured, Metric::kBytesPerToken) - 1}};
  auto verdicts = Judge(EvenMeasurement(kBefore), measured, options);
  EXPECT_EQ(Of(verdicts, Metric::kKlMean).outcome, Outcome::kUnclear);
  EXPECT_EQ(Of(verdicts, Metric::kKlP999).outcome, Outcome::kUnclear);
  EXPECT_FALSE(Fails(Outcome::kUnclear));
  // Bytes do not round, and what is worse than rounding explains fails.
  EXPECT_EQ(Of(verdicts, Metric::kBytesPerToken).outcome, Outcome::kOverLimit);
  options.rounding = 0.01;
  verdicts = Judge(EvenMeasurement(kBefore), measured, options);
  EXPECT_EQ(Of(verdicts, Metric::kKlMean).outcome, Outcome::kWorse);
  options.types = TypeComparison::kSame;
  verdicts = Judge(EvenMeasurement(kBefore), measured, options);
  EXPECT_EQ(Of(verdicts, Metric::kKlP999).outcome, Outcome::kOverLimit);
}

TEST(Verdict, TolerancesAreTheDocumentedOnes) {
  const std::map<Metric, std::pair<double, double>> expected = {
      {Metric::kKlMean, {1e-6, 0.02}},     {Metric::kKlP999, {1e-4, 0.05}},
      {Metric::kTop1Agreement, {5e-4, 0}}, {Metric::kDeltaNll, {1e-4, 0}},
      {Metric::kBytesPerToken, {0, 0}},    {Metric::kAccuracy, {0, 0}}};
  for (const auto& [metric, tolerance] : expected) {
    EXPECT_EQ(DefaultTolerance(metric), tolerance.first) << MetricName(metric);
    EXPECT_EQ(DefaultRelative(metric), tolerance.second) << MetricName(metric);
  }
  // What is allowed is the tolerance and the share of what was before.
  VerdictOptions options;
  options.limits.tolerance[Metric::kKlMean] = 0.01;
  options.limits.relative[Metric::kKlMean] = 0.5;
  options.rounding = 0.25;
  const MetricVerdict kl =
      Of(Judge(EvenMeasurement(kBefore), EvenMeasurement(kBefore), options), Metric::kKlMean);
  EXPECT_NEAR(kl.allowed, 0.01 + 0.5 * 0.2 + 0.25, 1e-7);
  EXPECT_EQ(
      Of(Judge(EvenMeasurement(kBefore), EvenMeasurement(kBefore), options), Metric::kBytesPerToken)
          .allowed,
      0);
}

// Only a percentile is drawn at random. The other intervals depend on the numbers alone.
TEST(Verdict, SameSeedGivesTheSameInterval) {
  std::vector<float> before, after;
  for (int i = 0; i < 40; ++i) {
    before.push_back(0.1F + 0.01F * static_cast<float>(i * 37 % 40));
    after.push_back(before.back() * (1 + 0.02F * static_cast<float>(i * 11 % 17)));
  }
  const auto interval = [&](Metric metric, uint64_t seed) {
    VerdictOptions options;
    options.seed = seed;
    return Of(Judge(EvenMeasurement(before), EvenMeasurement(after), options), metric).change;
  };
  EXPECT_EQ(interval(Metric::kKlP999, 3), interval(Metric::kKlP999, 3));
  EXPECT_LT(interval(Metric::kKlP999, 3).low, interval(Metric::kKlP999, 3).high);
  EXPECT_EQ(interval(Metric::kKlMean, 3), interval(Metric::kKlMean, 4));
}

// Of two prompts, a quarter of the draws has the smaller one alone, and all others end with the
// larger: the interval begins there when it leaves out more than that quarter on either side.
TEST(Verdict, ThePercentilesIntervalLeavesOutTheTailsOnBothSides) {
  const auto change = [](double confidence) {
    VerdictOptions options;
    options.confidence = confidence;
    return Of(Judge(EvenMeasurement({0, 0}), EvenMeasurement({1, 2}), options), Metric::kKlP999)
        .change;
  };
  EXPECT_NEAR(change(0.6).low, 1, 1e-6);
  EXPECT_NEAR(change(0.4).low, 2, 1e-6);
  EXPECT_NEAR(change(0.6).high, 2, 1e-6);
}

// The gate and `pareto pick` judge a factor that all prompts share by one interval.
TEST(Verdict, ChangeOfTheLossIsThatOfThePairedRatio) {
  std::vector<float> after;
  for (const float factor : {1.5F, 1.6F, 1.5F, 1.55F, 1.6F, 1.5F})
    after.push_back(factor * kBefore[after.size()]);
  const Measurement before_measured = EvenMeasurement(kBefore);
  const Measurement after_measured = EvenMeasurement(after);
  std::vector<double> losses, others;
  for (size_t i = 0; i < kBefore.size(); ++i) {
    losses.push_back(after_measured.prompts[i].kl_sum);
    others.push_back(before_measured.prompts[i].kl_sum);
  }
  const Interval ratio = LogRatio(losses, others).IntervalAt(VerdictOptions{}.confidence);
  const MetricVerdict kl = Of(Judge(before_measured, after_measured, {}), Metric::kKlMean);
  EXPECT_NEAR(kl.change.low, kl.before * (ratio.low - 1), 1e-12);
  EXPECT_NEAR(kl.change.high, kl.before * (ratio.high - 1), 1e-12);
}

TEST(Verdict, LosingNothingBeforeIsJudgedByTheDifference) {
  const std::vector<float> nothing(6, 0.0F);
  const std::vector<float> after = {0.01F, 0.012F, 0.011F, 0.01F, 0.012F, 0.01F};
  EXPECT_EQ(
      Of(Judge(EvenMeasurement(nothing), EvenMeasurement(after), {}), Metric::kKlMean).outcome,
      Outcome::kWorse);
}

}  // namespace
}  // namespace kvtune
