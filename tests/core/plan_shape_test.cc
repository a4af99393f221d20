#include "lib/core/plan_shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/hash.h"
#include "lib/base/random.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr PrecisionPair kQ8{KvFormatId::kIkQ8_0Had, KvFormatId::kIkQ8_0Had};
constexpr PrecisionPair kQ4{KvFormatId::kIkQ4_0Had, KvFormatId::kIkQ4_0Had};
constexpr PrecisionPair kPlainQ4{KvFormatId::kIkQ4_0, KvFormatId::kIkQ4_0};
constexpr PrecisionPair kMixedQ4{KvFormatId::kIkQ4_0Had, KvFormatId::kIkQ4_0};

PrecisionPlan PlanOf(std::vector<PrecisionPair> layers) { return {std::move(layers)}; }

std::string Reason(const PlanShape& shape, std::vector<PrecisionPair> layers) {
  return WhyNot(shape, PlanOf(std::move(layers))).value_or("allowed");
}

std::vector<PrecisionPair> Nearest(const PlanShape& shape, std::vector<PrecisionPair> layers) {
  return NearestPlan(shape, PlanOf(std::move(layers))).layers;
}

std::vector<PlanShape> AllShapes() {
  std::vector<PrecisionPair> nine_and_exact = NinePairs();
  nine_and_exact.insert(nine_and_exact.begin(), kExactPair);
  return {{ShapeKind::kAnyPair, NinePairs()},
          {ShapeKind::kAnyPair, nine_and_exact},
          {ShapeKind::kAnyPair, {kKV8, kKV4, kKV2}},  // K = V
          {ShapeKind::kOnePair, nine_and_exact},
          {ShapeKind::kOnePairAndExact, {kKV8, kKV4}},
          {ShapeKind::kOnePairAndExact, {kKV8, kK4V2, kKV2}, {kK4V2, kKV2}, 2},
          {ShapeKind::kRuns, NinePairs()},
          {ShapeKind::kRuns, {kQ8, kQ4, kPlainQ4, kMixedQ4}}};
}

TEST(PlanShape, AnyPairNamesTheLayerThatIsNotAmongThem) {
  const PlanShape tied{ShapeKind::kAnyPair, {kKV8, kKV4}};
  EXPECT_EQ(Reason(tied, {kKV8, kKV4, kKV8}), "allowed");
  EXPECT_EQ(Reason(tied, {kKV8, kK8V4}), "layer 1 takes K8V4, expected one of KV8, KV4");
  EXPECT_EQ(Reason(tied, {kExactPair}), "layer 0 takes exact, expected one of KV8, KV4");
  EXPECT_EQ(Reason({}, {kExactPair, kK2V8}), "allowed");
}

TEST(PlanShape, OnePairRefusesASecond) {
  const PlanShape uniform{ShapeKind::kOnePair, {kExactPair, kKV8, kKV4}};
  EXPECT_EQ(Reason(uniform, {kKV4, kKV4}), "allowed");
  EXPECT_EQ(Reason(uniform, {kExactPair, kExactPair}), "allowed");
  EXPECT_EQ(Reason(uniform, {kKV4, kKV4, kKV8}),
            "layer 0 takes KV4 and layer 2 KV8, expected the same in all layers");
  EXPECT_THAT(Reason(uniform, {kExactPair, kKV8}),
              HasSubstr("layer 0 takes exact and layer 1 KV8"));
}

TEST(PlanShape, ExactLayersMayBeAnywhere) {
  const PlanShape shape{ShapeKind::kOnePairAndExact, {kKV8, kKV4}};
  EXPECT_EQ(Reason(shape, {kExactPair, kKV4, kExactPair, kKV4}), "allowed");
  EXPECT_EQ(Reason(shape, {kExactPair, kExactPair}), "allowed");
  EXPECT_EQ(Reason(shape, {kExactPair, kKV4, kKV8}),
            "layer 1 takes KV4 and layer 2 KV8, expected the same in all but exact layers");
}

// At most half of the layers at each end: of three layers one.
TEST(PlanShape, AnEngineKeepsEndsExact) {
  const PlanShape shape{ShapeKind::kOnePairAndExact, {kKV8, kKV4}, {kKV4}, 2};
  EXPECT_EQ(Reason(shape, {kKV8, kKV8, kKV8, kKV8, kKV8}), "allowed");
  EXPECT_EQ(Reason(shape, {kExactPair, kExactPair, kKV4, kExactPair, kExactPair}), "allowed");
  EXPECT_EQ(Reason(shape, {kExactPair, kKV4, kExactPair}), "allowed");
  EXPECT_EQ(Reason(shape, {kExactPair, kExactPair, kKV4, kKV4, kExactPair}),
            "layer 3 takes KV4, expected exact: the engine keeps the first 2 and the last 2 layers "
            "exact beside it");
  EXPECT_THAT(Nearest(shape, {kKV4, kExactPair, kKV4, kKV4, kKV4, kKV4}),
              ElementsAre(kKV8, kExactPair, kKV8, kKV8, kKV8, kKV8));
  EXPECT_THAT(
      Nearest(shape, {kExactPair, kExactPair, kKV4, kKV4, kKV4, kKV4, kKV4, kKV8, kExactPair}),
      ElementsAre(kExactPair, kExactPair, kKV4, kKV4, kKV4, kKV4, kKV4, kExactPair, kExactPair));
  EXPECT_EQ(PlanSpec(shape.Uniform(kKV4, 6)), "exact;2-3:KV4");
  EXPECT_EQ(PlanSpec(shape.Uniform(kKV8, 6)), "KV8");
  EXPECT_TRUE(shape.Uniform(kKV4, 4).is_exact());
  EXPECT_EQ(PlanSpec(shape.Uniform(kKV4, 1)), "KV4");
  EXPECT_THAT(DescribeShape(shape),
              HasSubstr("; beside KV4 these have the first 2 and the last 2"));
}

TEST(PlanShape, RunsMayChangeTwice) {
  const PlanShape shape{ShapeKind::kRuns, NinePairs()};
  EXPECT_EQ(Reason(shape, {kKV8, kKV4, kKV4, kKV2}), "allowed");
  EXPECT_EQ(Reason(shape, {kKV8, kK8V4, kKV4, kK2V8}), "allowed");  // each side on its own
  EXPECT_THAT(Reason(shape, {kKV8, kKV4, kKV8, kKV4}),
              HasSubstr("the keys change their format more than twice"));
  EXPECT_THAT(Reason(shape, {kKV8, kK8V4, kKV8, kK8V4}), HasSubstr("the values change"));
}

TEST(PlanShape, RotationIsASwitchForASide) {
  const PlanShape shape{ShapeKind::kRuns, {kQ8, kQ4, kPlainQ4, kMixedQ4}};
  EXPECT_EQ(Reason(shape, {kQ8, kQ4}), "allowed");
  EXPECT_EQ(Reason(shape, {kPlainQ4, kPlainQ4}), "allowed");
  EXPECT_EQ(Reason(shape, {kMixedQ4, kMixedQ4}), "allowed");
  EXPECT_THAT(Reason(shape, {kQ8, kPlainQ4}),
              HasSubstr("the keys are rotated in some layers only, as ik_q8_0_had and ik_q4_0"));
}

TEST(PlanShape, FindsRuns) {
  const PrecisionPlan plan = PlanOf({kKV8, kK8V4, kKV4, kK4V2, kK2V4});
  const SideRuns keys = *FindRuns(plan, KvSide::kKey);
  EXPECT_EQ(keys, (SideRuns{KvFormatId::kInt8, KvFormatId::kInt4, KvFormatId::kInt2, 2, 1}));
  EXPECT_EQ(FindRuns(plan, KvSide::kValue), std::nullopt);  // 8 4 4 2 4
  const SideRuns two = *FindRuns(PlanOf({kKV8, kKV4, kKV4}), KvSide::kKey);
  EXPECT_EQ(two, (SideRuns{KvFormatId::kInt8, KvFormatId::kInt4, KvFormatId::kInt4, 1, 0}));
  EXPECT_EQ(FindRuns(PlanOf({kKV8}), KvSide::kKey)->first_count, 0u);
}

TEST(PlanShape, NearestAgreesWithExamplesByHand) {
  EXPECT_THAT(Nearest({ShapeKind::kAnyPair, {kKV8, kKV4, kKV2}}, {kExactPair, kK8V4, kK4V2, kKV2}),
              ElementsAre(kKV8, kKV8, kKV4, kKV2));  // ties go to more bits
  EXPECT_THAT(Nearest({ShapeKind::kOnePair, {kKV8, kKV4}}, {kKV8, kKV4, kKV4}),
              ElementsAre(kKV4, kKV4, kKV4));
  // Exact is further from 8 bits than 4 bits are.
  EXPECT_THAT(Nearest({ShapeKind::kOnePairAndExact, {kKV8, kKV4}}, {kExactPair, kKV4, kKV8, kKV4}),
              ElementsAre(kExactPair, kKV4, kKV4, kKV4));
  // As far from exact as from 8 bits: what needs no exact layer has none.
  const PrecisionPair exact_keys = {KvFormatId::kExact, KvFormatId::kInt8};
  EXPECT_THAT(Nearest({ShapeKind::kOnePairAndExact, {kKV8}}, {exact_keys, kKV8}),
              ElementsAre(kKV8, kKV8));
  EXPECT_THAT(Nearest({ShapeKind::kRuns, NinePairs()}, {kKV8, kKV4, kKV8, kKV4, kKV4}),
              ElementsAre(kKV8, kKV8, kKV8, kKV4, kKV4));
  EXPECT_THAT(Nearest({ShapeKind::kRuns, {kQ8, kQ4, kPlainQ4}}, {kQ8, kPlainQ4, kPlainQ4}),
              ElementsAre(kQ8, kQ4, kQ4));
}

TEST(PlanShape, NearestIsAllowedAndAllowedPlansStay) {
  Random random(3);
  const std::vector<PrecisionPair> wanted = {kExactPair, kKV8, kK8V4,    kKV4,    kKV2,
                                             kQ8,        kQ4,  kPlainQ4, kMixedQ4};
  for (const PlanShape& shape : AllShapes()) {
    for (int trial = 0; trial < 200; ++trial) {
      PrecisionPlan plan;
      for (size_t layer = 0; layer < 1 + static_cast<size_t>(trial) % 7; ++layer) {
        plan.layers.push_back(wanted[random.Below(wanted.size())]);
      }
      const PrecisionPlan nearest = NearestPlan(shape, plan);
      EXPECT_EQ(WhyNot(shape, nearest), std::nullopt)
          << PlanSpec(plan) << " -> " << PlanSpec(nearest);
      EXPECT_EQ(NearestPlan(shape, nearest), nearest);
      if (!WhyNot(shape, plan)) {
        EXPECT_EQ(nearest, plan);
      }
    }
  }
}

// Against every allowed plan of three layers.
TEST(PlanShape, NothingAllowedIsNearer) {
  const std::vector<PrecisionPair> pairs = {kExactPair, kKV8, kK8V4, kKV4, kK4V2, kKV2};
  std::vector<PrecisionPlan> all;
  for (const PrecisionPair a : pairs) {
    for (const PrecisionPair b : pairs) {
      for (const PrecisionPair c : pairs) all.push_back(PlanOf({a, b, c}));
    }
  }
  const auto distance = [](const PrecisionPlan& a, const PrecisionPlan& b) {
    PlanDistance sum;
    for (size_t layer = 0; layer < a.layers.size(); ++layer)
      sum += DistanceOf(a.layers[layer], b.layers[layer]);
    return sum;
  };
  for (const PlanShape& shape :
       {PlanShape{ShapeKind::kAnyPair, {kKV8, kKV4}},
        PlanShape{ShapeKind::kOnePair, {kExactPair, kKV8, kKV2}},
        PlanShape{ShapeKind::kOnePairAndExact, {kKV8, kKV4, kK4V2}},
        PlanShape{ShapeKind::kOnePairAndExact, {kKV8, kKV4, kK4V2}, {kK4V2}, 1},
        PlanShape{ShapeKind::kRuns, {kKV8, kKV4, kKV2}}}) {
    for (const PrecisionPlan& plan : all) {
      const PlanDistance found = distance(NearestPlan(shape, plan), plan);
      for (const PrecisionPlan& other : all) {
        if (WhyNot(shape, other)) continue;
        EXPECT_LE(found, distance(other, plan)) << PlanSpec(plan);
      }
    }
  }
}

// A change of what is nearest changes what --project exports, and the seeds of searches.
TEST(PlanShape, NearestPlansArePinned) {
  std::vector<PrecisionPair> drawn = NinePairs();
  drawn.insert(drawn.end(), {kExactPair, kKiviKV4, kQ8, kQ4, kPlainQ4, kMixedQ4});
  Random random(9);
  ContentHash hash;
  for (const PlanShape& shape : AllShapes()) {
    for (int i = 0; i < 120; ++i) {
      PrecisionPlan plan;
      const uint64_t layers = 1 + random.Below(8);
      const uint64_t kinds = 1 + random.Below(4);
      while (plan.layers.size() < layers) {
        const PrecisionPair pair = drawn[random.Below(drawn.size())];
        // Runs of a few pairs are commoner than any mixture.
        plan.layers.insert(plan.layers.end(), random.Below(kinds) + 1, pair);
      }
      plan.layers.resize(layers, kKV4);
      const PrecisionPlan nearest = NearestPlan(shape, plan);
      EXPECT_EQ(WhyNot(shape, nearest), std::nullopt) << PlanSpec(plan);
      hash.UpdateField(PlanSpec(nearest));
      hash.UpdateField(WhyNot(shape, plan).value_or(""));
    }
    hash.UpdateField(DescribeShape(shape));
  }
  EXPECT_EQ(hash.Digest(), "xxh3:3ca0aabd3b45b4a14fa6c45dc9f27088");
}

}  // namespace
}  // namespace kvtune
