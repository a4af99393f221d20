#include "lib/calib/cache_scales.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/error.h"
#include "tests/calib/tiny_runner.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr PrecisionPair kCalibrated{KvFormatId::kFp8E4m3Calibrated, KvFormatId::kNvfp4Calibrated};
constexpr PrecisionPair kUnit{KvFormatId::kFp8E4m3, KvFormatId::kInt4};

std::vector<LayerMaxima> MaximaOf(MeasuredModel& runner, std::span<const TokenIds> prompts) {
  std::vector<LayerMaxima> maxima;
  for (const LayerObservation& layer : runner.ObserveAttention(prompts, {}, nullptr))
    maxima.push_back(layer.maxima);
  return maxima;
}

TEST(CacheScales, OnlyCalibratedFormatsNeedThem) {
  EXPECT_TRUE(NeedCalibratedScales(std::vector{kUnit, kCalibrated}));
  EXPECT_FALSE(NeedCalibratedScales(std::vector{kUnit, kExactPair}));
}

TEST(CacheScales, ScoringWithoutThemIsAnError) {
  TinyRunner tiny;
  const std::vector<TokenIds> prompts = RandomPrompts(1);
  const PrecisionPlan plan = PrecisionPlan::Uniform(kCalibrated, 3);
  EXPECT_THAT(([&] { tiny.model().ScorePlans(std::span(&plan, 1), prompts, nullptr); }),
              ThrowsMessage<Error>(HasSubstr("found no calibrated scales")));
  CalibrateScales(tiny.model(), prompts);
  const auto losses = tiny.model().ScorePlans(std::span(&plan, 1), prompts, nullptr);
  EXPECT_GT(losses[0][0].token_kl.back(), 0);
}

TEST(CacheScales, OfSeveralPromptsAreTheLargestOfEach) {
  TinyRunner tiny;
  const std::vector<TokenIds> prompts = RandomPrompts(3);
  const std::vector<LayerMaxima> all = MaximaOf(tiny.model(), prompts);
  std::vector<LayerMaxima> expected = MaximaOf(tiny.model(), std::span(prompts).first(1));
  for (size_t p = 1; p < prompts.size(); ++p) {
    const std::vector<LayerMaxima> one = MaximaOf(tiny.model(), std::span(prompts).subspan(p, 1));
    for (size_t layer = 0; layer < one.size(); ++layer) {
      for (size_t h = 0; h < 2; ++h) {
        expected[layer].key[h] = std::max(expected[layer].key[h], one[layer].key[h]);
        expected[layer].value[h] = std::max(expected[layer].value[h], one[layer].value[h]);
      }
    }
  }
  EXPECT_EQ(all, expected);
  EXPECT_GT(all[2].value[1], 0);
}

TEST(CacheScales, LargestNumberBecomesTheLargestStored) {
  const KvFormat& tensor = FormatOf(KvFormatId::kFp8E4m3Calibrated);
  const KvFormat& block = FormatOf(KvFormatId::kNvfp4Calibrated);
  const std::vector<float> maxima = {448, 896};
  EXPECT_EQ(CalibratedScales(tensor, maxima), (std::vector<float>{2, 2}));
  EXPECT_EQ(CalibratedScales(block, std::vector<float>{2688}), (std::vector<float>{1}));
  EXPECT_EQ(CalibratedScales(tensor, std::vector<float>{0}), (std::vector<float>{1}));
}

}  // namespace
}  // namespace kvtune
