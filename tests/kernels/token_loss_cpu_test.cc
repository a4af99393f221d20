#include "lib/kernels/token_loss_cpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lib/base/random.h"

namespace kvtune {
namespace {

struct Pair {
  std::vector<float> reference, plan;
};

Pair RandomLogits(size_t vocab, double difference, uint64_t seed) {
  Random random(seed);
  Pair pair;
  for (size_t i = 0; i < vocab; ++i) {
    pair.reference.push_back(static_cast<float>(random.Unit() * 20 - 10));
    pair.plan.push_back(static_cast<float>(static_cast<double>(pair.reference[i]) +
                                           difference * (random.Unit() - 0.5)));
  }
  return pair;
}

// The definition in long double.
long double ExactKl(const Pair& pair) {
  const auto log_sum = [](const std::vector<float>& x) {
    long double sum = 0;
    for (const float value : x) sum += std::exp(static_cast<long double>(value));
    return std::log(sum);
  };
  const long double reference_sum = log_sum(pair.reference), plan_sum = log_sum(pair.plan);
  long double kl = 0;
  for (size_t i = 0; i < pair.reference.size(); ++i) {
    const long double log_p = static_cast<long double>(pair.reference[i]) - reference_sum;
    kl += std::exp(log_p) * (log_p - (static_cast<long double>(pair.plan[i]) - plan_sum));
  }
  return kl;
}

long double ExactTotalVariation(const Pair& pair) {
  long double reference_sum = 0, plan_sum = 0, variation = 0;
  for (const float value : pair.reference)
    reference_sum += std::exp(static_cast<long double>(value));
  for (const float value : pair.plan) plan_sum += std::exp(static_cast<long double>(value));
  for (size_t i = 0; i < pair.reference.size(); ++i) {
    variation += std::abs(std::exp(static_cast<long double>(pair.reference[i])) / reference_sum -
                          std::exp(static_cast<long double>(pair.plan[i])) / plan_sum);
  }
  return variation / 2;
}

TokenLoss LossAgainst(const std::vector<float>& reference, const float* logits, int64_t vocab,
                      int64_t next_token) {
  return ComputeTokenLoss(reference.data(), Summarize(reference.data(), vocab), logits, vocab,
                          next_token);
}

TEST(TokenLoss, EqualLogitsLoseExactlyNothing) {
  const Pair pair = RandomLogits(1000, 0, 1);
  const TokenLoss loss = LossAgainst(pair.reference, pair.reference.data(), 1000, 3);
  EXPECT_EQ(loss.kl, 0);
  EXPECT_EQ(loss.total_variation, 0);
  EXPECT_TRUE(loss.same_top1);
}

TEST(TokenLoss, AgreesWithTheSmallestExampleByHand) {
  // p = (1/2, 1/2), q = (1/4, 3/4): KL = ln 2 - ln(3) / 2, and -log q of token 0 is ln 4.
  const std::vector<float> reference = {0, 0}, plan = {0, std::log(3.0f)};
  const TokenLoss loss = LossAgainst(reference, plan.data(), 2, 0);
  EXPECT_NEAR(loss.kl, std::log(2.0) - std::log(3.0) / 2, 1e-6);
  EXPECT_NEAR(loss.nll, std::log(4.0), 1e-6);
  EXPECT_NEAR(loss.total_variation, 0.25, 1e-6);  // (|1/2 - 1/4| + |1/2 - 3/4|) / 2
  EXPECT_FALSE(loss.same_top1);
}

TEST(TokenLoss, AgreesWithTheDefinitionOverManyMagnitudes) {
  for (const double difference : {1e-3, 1e-2, 0.1, 1.0, 10.0}) {
    for (const size_t vocab : {7u, 512u, 10000u}) {
      const Pair pair = RandomLogits(vocab, difference, 11);
      const auto expected = static_cast<double>(ExactKl(pair));
      const TokenLoss loss =
          LossAgainst(pair.reference, pair.plan.data(), static_cast<int64_t>(vocab), 0);
      EXPECT_NEAR(loss.kl, expected, 0.01 * expected)
          << "difference " << difference << " vocab " << vocab;
      const auto variation = static_cast<double>(ExactTotalVariation(pair));
      EXPECT_NEAR(loss.total_variation, variation, 0.01 * variation)
          << "difference " << difference << " vocab " << vocab;
      // Pinsker's inequality.
      EXPECT_LE(variation * variation, 1.01 * expected / 2);
    }
  }
}

TEST(TokenLoss, IsNeverNegative) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Pair pair = RandomLogits(100, 1e-6, seed);
    EXPECT_GE(LossAgainst(pair.reference, pair.plan.data(), 100, 0).kl, 0);
  }
}

TEST(TokenLoss, SurvivesExtremeLogits) {
  const std::vector<float> reference = {1e4f, -1e4f, 0}, plan = {-1e4f, 1e4f, 0};
  const TokenLoss loss = LossAgainst(reference, plan.data(), 3, 0);
  EXPECT_TRUE(std::isfinite(loss.kl));
  EXPECT_NEAR(loss.total_variation, 1, 1e-6);
  EXPECT_GT(loss.kl, 1000);
  EXPECT_NEAR(loss.nll, 2e4, 1);
}

}  // namespace
}  // namespace kvtune
