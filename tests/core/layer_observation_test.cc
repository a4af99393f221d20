#include "lib/core/layer_observation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

using ::testing::ElementsAre;

// Every sum is a number of its own, times `factor`.
HeadErrorSums Head(double factor) {
  return {.k_error = factor,
          .k_total = 2 * factor,
          .v_error = 3 * factor,
          .v_total = 4 * factor,
          .o_error = 5 * factor,
          .o_total = 6 * factor,
          .a_error = 7 * factor,
          .k_ratio = 8 * factor,
          .v_ratio = 9 * factor,
          .o_ratio = 10 * factor,
          .k_count = 11 * factor,
          .v_count = 12 * factor,
          .o_count = 13 * factor,
          .a_count = 14 * factor};
}

std::vector<double> Numbers(const HeadErrorSums& head) {
  return {head.k_error, head.k_total, head.v_error, head.v_total, head.o_error,
          head.o_total, head.a_error, head.k_ratio, head.v_ratio, head.o_ratio,
          head.k_count, head.v_count, head.o_count, head.a_count};
}

TEST(HeadErrorSums, AddUpFieldByField) {
  HeadErrorSums sums = Head(1);
  sums += Head(10);
  sums += Head(100);
  EXPECT_EQ(Numbers(sums), Numbers(Head(111)));
}

// Two pairs, two KV heads, three key channels, two query heads.
LayerObservation First() {
  return {.pairs = {{.kv_heads = {Head(1), Head(2)}, .key_channel_error = {1, 2, 3}},
                    {.kv_heads = {Head(3), Head(4)}, .key_channel_error = {4, 5, 6}}},
          .concentration_sum = {0.5, 0.25},
          .concentration_count = 7,
          .key_channel_max = {1, 9, 3},
          .key_channel_total = {10, 20, 30},
          .maxima = {.key = {1, 8}, .value = {6, 2}},
          .key_bias_norm = 5};
}

LayerObservation Second() {
  return {.pairs = {{.kv_heads = {Head(10), Head(20)}, .key_channel_error = {10, 20, 30}},
                    {.kv_heads = {Head(30), Head(40)}, .key_channel_error = {40, 50, 60}}},
          .concentration_sum = {1, 2},
          .concentration_count = 3,
          .key_channel_max = {4, 2, 3.5},
          .key_channel_total = {100, 200, 300},
          .maxima = {.key = {3, 7}, .value = {5, 4}},
          .key_bias_norm = 5};
}

TEST(LayerObservation, SumsAddUpPairByPairAndHeadByHead) {
  LayerObservation sum = First();
  sum += Second();
  ASSERT_EQ(sum.pairs.size(), 2u);
  for (size_t pair = 0; pair < 2; ++pair) {
    ASSERT_EQ(sum.pairs[pair].kv_heads.size(), 2u);
    for (size_t head = 0; head < 2; ++head) {
      EXPECT_EQ(Numbers(sum.pairs[pair].kv_heads[head]),
                Numbers(Head(11 * static_cast<double>(2 * pair + head + 1))));
    }
  }
  EXPECT_THAT(sum.pairs[0].key_channel_error, ElementsAre(11, 22, 33));
  EXPECT_THAT(sum.pairs[1].key_channel_error, ElementsAre(44, 55, 66));
  EXPECT_THAT(sum.key_channel_total, ElementsAre(110, 220, 330));
  EXPECT_THAT(sum.concentration_sum, ElementsAre(1.5, 2.25));
  EXPECT_EQ(sum.concentration_count, 10);
}

TEST(LayerObservation, MaximaAreTheLargerOnes) {
  LayerObservation sum = First();
  sum += Second();
  EXPECT_THAT(sum.key_channel_max, ElementsAre(4, 9, 3.5));
  EXPECT_THAT(sum.maxima.key, ElementsAre(3, 8));
  EXPECT_THAT(sum.maxima.value, ElementsAre(6, 4));
}

// The bias is the layer's, not the prompts'.
TEST(LayerObservation, TheBiasIsNotAddedUp) {
  LayerObservation sum = First();
  sum += Second();
  EXPECT_EQ(sum.key_bias_norm, 5);
}

TEST(LayerObservation, WithoutPairsOnlyTheRestAddsUp) {
  LayerObservation sum = First(), other = Second();
  sum.pairs.clear();
  other.pairs.clear();
  sum += other;
  EXPECT_TRUE(sum.pairs.empty());
  EXPECT_EQ(sum.concentration_count, 10);
}

}  // namespace
}  // namespace kvtune
