#include <gtest/gtest.h>

#include <cstdio>

#include "lib/base/hash.h"
#include "lib/base/random.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

// 2 layers, 2 KV heads of 128 channels: 256 elements a side.
ModelConfig SmallModel() {
  ModelConfig config;
  config.layers.assign(2, {.kv_heads = 2, .key_head_dim = 128, .value_head_dim = 128});
  return config;
}

PrecisionPlan UniformOf(const char* label, const char* target) {
  return PrecisionPlan::Uniform(ParsePairLabel(label, FindTarget(target).pairs), 2);
}

const Target& Kvtuner() { return FindTarget("kvtuner"); }

TEST(TargetCost, ExactPlanStoresSixteenBits) {
  const PlanCost cost =
      CostOf(Kvtuner(), PrecisionPlan::Uniform(kExactPair, 2), SmallModel(), 8192);
  EXPECT_DOUBLE_EQ(cost.nominal_bits, 16);
  EXPECT_DOUBLE_EQ(cost.effective_bits, 16);
  EXPECT_DOUBLE_EQ(cost.bytes_per_token, 2 * 2 * 256 * 2);
}

TEST(TargetCost, PerTokenCountsScaleAndZeroOfEveryRow) {
  const PlanCost cost = CostOf(Kvtuner(), UniformOf("KV4", "kvtuner"), SmallModel(), 8192);
  EXPECT_DOUBLE_EQ(cost.nominal_bits, 4);
  EXPECT_DOUBLE_EQ(cost.effective_bits, 4.25);  // 32 bits over 128 elements
  EXPECT_DOUBLE_EQ(cost.bytes_per_token, 2 * 2 * 256 * 4.25 / 8);
}

TEST(TargetCost, PerTokenDoesNotDependOnTheContext) {
  const PrecisionPlan plan = UniformOf("K8V2", "kvtuner");
  EXPECT_DOUBLE_EQ(CostOf(Kvtuner(), plan, SmallModel(), 1).bytes_per_token,
                   CostOf(Kvtuner(), plan, SmallModel(), 1 << 20).bytes_per_token);
}

TEST(TargetCost, BothSidesCount) {
  const PlanCost cost = CostOf(Kvtuner(), UniformOf("K8V2", "kvtuner"), SmallModel(), 8192);
  EXPECT_DOUBLE_EQ(cost.nominal_bits, 5);
  EXPECT_DOUBLE_EQ(cost.effective_bits, 5.25);
}

// slot_size_aligned of TurboQuantConfig, in bits: 98 key and 98 value bytes and so on, over 256
// elements.
TEST(TargetCost, TurboquantIsItsSlot) {
  const std::pair<const char*, double> slots[] = {{"turboquant_k8v4", 128 + 68},
                                                  {"turboquant_4bit_nc", 66 + 68},
                                                  {"turboquant_k3v4_nc", 50 + 68},
                                                  {"turboquant_3bit_nc", 50 + 52}};
  for (const auto& [name, bytes] : slots) {
    EXPECT_DOUBLE_EQ(
        CostOf(FindTarget("vllm"), UniformOf(name, "vllm"), SmallModel(), 8192).effective_bits,
        bytes * 8 / 256)
        << name;
  }
}

TEST(TargetCost, LayersAreAveraged) {
  const PrecisionPlan plan = ParsePlanSpec("KV4;0:KV8", 2, FindTarget("kvtuner").pairs);
  const PlanCost cost = CostOf(Kvtuner(), plan, SmallModel(), 8192);
  EXPECT_DOUBLE_EQ(cost.nominal_bits, 6);
  EXPECT_DOUBLE_EQ(cost.effective_bits, 6.25);
  EXPECT_DOUBLE_EQ(cost.bytes_per_token, 2 * 256 * (8.25 + 4.25) / 8);
}

TEST(TargetCost, ResidualWindowStaysExact) {
  const PrecisionPlan plan = UniformOf("KV4", "kvtuner-kivi");
  const PlanCost cost = CostOf(Kvtuner(), plan, SmallModel(), 64);
  EXPECT_DOUBLE_EQ(cost.effective_bits, 5);  // without the window: 32 bits over 32 elements
  EXPECT_DOUBLE_EQ(cost.bytes_per_token, 2 * 2 * 256 * (32 * 16 + 32 * 5) / 64.0 / 8);
}

TEST(TargetCost, ContextInsideTheWindowIsExact) {
  const PrecisionPlan plan = UniformOf("KV2", "kvtuner-kivi");
  const double exact =
      CostOf(Kvtuner(), PrecisionPlan::Uniform(kExactPair, 2), SmallModel(), 20).bytes_per_token;
  EXPECT_DOUBLE_EQ(CostOf(Kvtuner(), plan, SmallModel(), 20).bytes_per_token, exact);
  EXPECT_DOUBLE_EQ(CostOf(Kvtuner(), plan, SmallModel(), 32).bytes_per_token, exact);
  EXPECT_LT(CostOf(Kvtuner(), plan, SmallModel(), 33).bytes_per_token, exact);
}

TEST(TargetCost, SlidingLayersHoldNoMoreThanTheirWindow) {
  ModelConfig model = SmallModel();
  model.layers[1].window_tokens = 1024;
  const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, 2);
  EXPECT_DOUBLE_EQ(CostOf(Kvtuner(), exact, model, 4096).bytes_per_token, 2 * 256 * 2 * (1 + 0.25));
  EXPECT_DOUBLE_EQ(CostOf(Kvtuner(), exact, model, 1000).bytes_per_token, 2 * 2 * 256 * 2);
  // transformers' quantized layers keep what is behind the window.
  EXPECT_DOUBLE_EQ(CostOf(FindTarget("hf"), exact, model, 4096).bytes_per_token, 2 * 2 * 256 * 2);
  // Of 64 tokens the newest 32 stay exact.
  model.layers[1].window_tokens = 64;
  const PlanCost kivi = CostOf(Kvtuner(), UniformOf("KV4", "kvtuner-kivi"), model, 128);
  EXPECT_DOUBLE_EQ(kivi.bytes_per_token,
                   2 * 256 * ((32 * 16 + 96 * 5) + (32 * 16 + 32 * 5)) / 128.0 / 8);
  EXPECT_DOUBLE_EQ(kivi.effective_bits, 5);
}

TEST(TargetCost, LayersAndSidesWeighByTheirWidth) {
  ModelConfig model = SmallModel();
  model.layers[0] = {.kv_heads = 1, .key_head_dim = 64, .value_head_dim = 32};
  const PlanCost cost = CostOf(Kvtuner(), UniformOf("K8V4", "kvtuner"), model, 8192);
  EXPECT_DOUBLE_EQ(cost.nominal_bits, 6);
  const double bits = 64 * 8.5 + 32 * 5.0 + 256 * 8.25 + 256 * 4.25;
  EXPECT_DOUBLE_EQ(cost.effective_bits, bits / (64 + 32 + 256 + 256));
  EXPECT_DOUBLE_EQ(cost.bytes_per_token, bits / 8);
}

// Bytes are what plans are chosen by.
TEST(TargetCost, CostsOfAnyPlanArePinned) {
  Random random(8);
  ContentHash hash;
  for (const Target& target : Targets()) {
    for (int i = 0; i < 30; ++i) {
      ModelConfig model;
      PrecisionPlan plan;
      for (uint64_t layers = 1 + random.Below(5); layers > 0; --layers) {
        const int64_t head_dim = 16 << random.Below(4);
        model.layers.push_back({.kv_heads = static_cast<int64_t>(1 + random.Below(4)),
                                .key_head_dim = head_dim,
                                .value_head_dim = random.Below(3) == 0 ? 48 : head_dim,
                                .window_tokens = random.Below(2) == 0 ? 0 : 100});
        plan.layers.push_back(target.shape.pairs[random.Below(target.shape.pairs.size())]);
      }
      for (const int64_t context : {1, 32, 33, 128, 8192}) {
        const PlanCost cost = CostOf(target, plan, model, context);
        char text[128];
        std::snprintf(text, sizeof text, "%.9g %.9g %.9g %.9g", cost.nominal_bits,
                      cost.effective_bits, cost.bytes_per_token,
                      PaddedBytesPerToken(target, plan, model, context).value_or(-1));
        hash.UpdateField(text);
      }
    }
  }
  EXPECT_EQ(hash.Digest(), "xxh3:4fdd281a8adbe230ff6ac2b2ccebc9fe");
}

}  // namespace
}  // namespace kvtune
