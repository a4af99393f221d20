#include "search/prune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "tests/support/latency_data.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

TEST(Prune, KeepsTheFrontMostBitsFirst) {
  // K8V4 and K4V8 both have 6 bits; keys matter more, so K4V8 is needless, and so is K2V8 beside
  // KV4.
  const SensitivityTable table =
      TableOf({kKV2, kKV4, kKV8, kK8V4, kK4V8, kK2V8}, {{.9, .2, .01, .1, .15, .8}});
  const CandidateSet candidates = Prune(table, {});
  ASSERT_EQ(candidates.layers.size(), 1u);
  EXPECT_THAT(candidates.layers[0].kept, ElementsAre(kKV8, kK8V4, kKV4, kKV2));
  ASSERT_EQ(candidates.layers[0].dropped.size(), 2u);
  EXPECT_EQ(candidates.layers[0].dropped[0].pair, kK4V8);
  EXPECT_EQ(candidates.layers[0].dropped[0].dominated_by, kK8V4);
  EXPECT_EQ(candidates.layers[0].dropped[1].pair, kK2V8);
  EXPECT_EQ(candidates.layers[0].dropped[1].dominated_by, kKV4);
  EXPECT_EQ(candidates.metric, "e_o");
  EXPECT_EQ(candidates.bits, "effective");
}

TEST(Prune, EqualErrorWithMoreBitsIsNeedless) {
  const SensitivityTable table = TableOf({kKV8, kKV4}, {{.2, .2}});
  EXPECT_THAT(Prune(table, {}).layers[0].kept, ElementsAre(kKV4));
}

TEST(Prune, EqualPairsBothStay) {
  const SensitivityTable table = TableOf({kK8V4, kK4V8}, {{.2, .2}});
  EXPECT_THAT(Prune(table, {}).layers[0].kept, ElementsAre(kK8V4, kK4V8));
}

TEST(Prune, EpsilonKeepsNearTies) {
  const SensitivityTable table = TableOf({kK8V4, kK4V8}, {{.19, .20}});
  EXPECT_THAT(Prune(table, {}).layers[0].kept, ElementsAre(kK8V4));
  PruneOptions options;
  options.epsilon = 0.1;
  EXPECT_THAT(Prune(table, options).layers[0].kept, ElementsAre(kK8V4, kK4V8));
}

TEST(Prune, FloorBringsBackTheSmallestErrors) {
  const SensitivityTable table = TableOf({kKV8, kK8V4, kKV4, kKV2}, {{.3, .25, .2, .1}});
  PruneOptions options;
  options.min_pairs = 3;
  const CandidateSet candidates = Prune(table, options);
  EXPECT_THAT(candidates.layers[0].kept, ElementsAre(kK8V4, kKV4, kKV2));
  ASSERT_EQ(candidates.layers[0].dropped.size(), 1u);
  EXPECT_EQ(candidates.layers[0].dropped[0].pair, kKV8);
  options.min_pairs = 9;
  EXPECT_THAT(Prune(table, options).layers[0].dropped, IsEmpty());
}

TEST(Prune, BitsMayBeThePapersOrTheTargets) {
  SensitivityTable table = TableOf({kK8V4, kK4V8}, {{.1, .2}});
  table.layers[0].errors[0].bits = 6.5;  // this target stores keys at 8 bits less tightly
  EXPECT_THAT(Prune(table, {}).layers[0].kept, ElementsAre(kK8V4, kK4V8));
  PruneOptions options;
  options.bits = BitCount::kNominal;
  const CandidateSet candidates = Prune(table, options);
  EXPECT_THAT(candidates.layers[0].kept, ElementsAre(kK8V4));
  EXPECT_EQ(candidates.bits, "nominal");
}

TEST(Prune, IsolatedKlDecidesWhenAsked) {
  SensitivityTable table = TableOf({kK8V4, kK4V8}, {{.1, .2}});
  table.layers[0].errors[0].kl = 0.02;
  table.layers[0].errors[1].kl = 0.01;
  PruneOptions options;
  options.metric = ScreeningError::kIsolatedKl;
  const CandidateSet candidates = Prune(table, options);
  EXPECT_THAT(candidates.layers[0].kept, ElementsAre(kK4V8));
  EXPECT_EQ(candidates.metric, "kl");
}

TEST(Prune, MissingKlNamesLayerAndPair) {
  SensitivityTable table = TableOf({kKV8, kKV4}, {{.1, .2}, {.1, .2}});
  for (PairErrors& errors : table.layers[0].errors) errors.kl = 0.1;
  table.layers[1].errors[0].kl = 0.1;
  PruneOptions options;
  options.metric = ScreeningError::kIsolatedKl;
  EXPECT_THAT(
      [&] { Prune(table, options); },
      ThrowsMessage<Error>(StrEq("pruning by isolated KL: found none for KV4 in layer 1, expected "
                                 "a table made with `kvtune calibrate --sensitivity kl`")));
}

TEST(Prune, OptionsOutOfRangeAreRefused) {
  const SensitivityTable table = TableOf({kKV8}, {{.1}});
  PruneOptions options;
  options.epsilon = 1;
  EXPECT_THAT([&] { Prune(table, options); },
              ThrowsMessage<Error>(HasSubstr("found the epsilon 1")));
  options = {};
  options.min_pairs = 0;
  EXPECT_THAT([&] { Prune(table, options); }, ThrowsMessage<Error>(HasSubstr("floor of 0 pairs")));
}

TEST(Prune, CheapestAndBestAlwaysStayAndEveryDropIsJustified) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Random random(seed);
    const SensitivityTable table = RandomTable(random, 4);
    PruneOptions options;
    options.epsilon = seed % 2 == 0 ? 0 : 0.3;
    const CandidateSet candidates = Prune(table, options);
    ASSERT_EQ(candidates.layers.size(), table.layers.size());
    for (size_t layer = 0; layer < table.layers.size(); ++layer) {
      const std::vector<PairErrors>& errors = table.layers[layer].errors;
      const auto errors_of = [&](PrecisionPair pair) {
        return errors[static_cast<size_t>(std::find(table.pairs.begin(), table.pairs.end(), pair) -
                                          table.pairs.begin())];
      };
      const std::vector<PrecisionPair>& kept = candidates.layers[layer].kept;
      const auto fewest = std::min_element(errors.begin(), errors.end(),
                                           [](auto& a, auto& b) { return a.bits < b.bits; });
      const auto best = std::min_element(errors.begin(), errors.end(),
                                         [](auto& a, auto& b) { return a.e_o < b.e_o; });
      EXPECT_EQ(errors_of(kept.back()).bits, fewest->bits);
      EXPECT_TRUE(std::any_of(kept.begin(), kept.end(), [&](PrecisionPair pair) {
        return errors_of(pair).e_o == best->e_o;
      }));
      EXPECT_EQ(kept.size() + candidates.layers[layer].dropped.size(), table.pairs.size());
      for (const DroppedPair& dropped : candidates.layers[layer].dropped) {
        const PairErrors mine = errors_of(dropped.pair), other = errors_of(dropped.dominated_by);
        EXPECT_LE(other.bits, mine.bits);
        EXPECT_LE(other.e_o, (1 - options.epsilon) * mine.e_o);
        EXPECT_TRUE(std::find(kept.begin(), kept.end(), dropped.dominated_by) != kept.end());
      }
    }
  }
}

// K2V8 has the bits of K8V2 and a larger error, but takes less time.
TEST(Prune, InASearchByTimeAFasterPairStays) {
  const std::vector<PrecisionPair> pairs = {kKV8, kK8V2, kK2V8, kKV2};
  const SensitivityTable table = TableOf(pairs, {{0.01, 0.02, 0.03, 0.5}, {0.01, 0.4, 0.03, 0.5}});
  PruneOptions options;
  EXPECT_THAT(Prune(table, options).layers[0].kept, ElementsAre(kKV8, kK8V2, kKV2));
  const LatencyTable times = LatencyOf({{1, 64}}, 2);
  options.latency = SearchLatency{
      .source = {}, .times = std::make_shared<AttentionTimes>(times, times.settings[0])};
  ASSERT_LT(FakeMilliseconds(kK2V8), FakeMilliseconds(kK8V2));
  const CandidateSet candidates = Prune(table, options);
  EXPECT_THAT(candidates.layers[0].kept, ElementsAre(kKV8, kK8V2, kK2V8, kKV2));
  // In layer 1 K8V2 is slower and worse.
  EXPECT_THAT(candidates.layers[1].kept, ElementsAre(kKV8, kK2V8, kKV2));
  EXPECT_EQ(candidates.layers[1].dropped.at(0).dominated_by, kK2V8);
}

}  // namespace
}  // namespace kvtune
