#include "lib/targets/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/log.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::ThrowsMessage;

constexpr PrecisionPair kQ8{KvFormatId::kQ8_0, KvFormatId::kQ8_0};
constexpr PrecisionPair kQ4{KvFormatId::kQ4_0, KvFormatId::kQ4_0};
constexpr PrecisionPair kQ8Q4{KvFormatId::kQ8_0, KvFormatId::kQ4_0};
constexpr PrecisionPair kQ5{KvFormatId::kQ5_1, KvFormatId::kQ5_1};

TEST(DefaultKernels, LlamaCppHasThemForEqualTypesOfTwoWidths) {
  const Target& llama = FindTarget("llama.cpp");
  for (const PrecisionPair pair : {kQ8, kQ4, kExactPair}) {
    EXPECT_FALSE(WhyNoDefaultKernel(llama, pair)) << PairLabel(pair);
  }
  for (const PrecisionPair pair : {kQ8Q4, kQ5, {KvFormatId::kExact, KvFormatId::kQ8_0}}) {
    EXPECT_THAT(WhyNoDefaultKernel(llama, pair), Optional(HasSubstr("GGML_CUDA_FA_ALL_QUANTS")))
        << PairLabel(pair);
  }
  EXPECT_FALSE(HasAllDefaultKernels(llama));
}

TEST(DefaultKernels, RestrictWhatIsSearchedAlone) {
  SetLogLevel(LogLevel::kQuiet);
  const Target& llama = FindTarget("llama.cpp");
  const Target restricted = WithDefaultKernels(llama);
  EXPECT_EQ(restricted.pairs, (std::vector{kQ8, kQ4}));
  EXPECT_EQ(restricted.shape.pairs, llama.shape.pairs);
  for (const Target& target : Targets()) {
    if (target.name == "llama.cpp") continue;
    EXPECT_TRUE(HasAllDefaultKernels(target)) << target.name;
    EXPECT_EQ(WithDefaultKernels(target).pairs, target.pairs) << target.name;
  }
}

TEST(DefaultKernels, PlansWithoutThemAreNamed) {
  const auto plan = [](std::string name, PrecisionPair pair) {
    ScoredPlan scored;
    scored.name = std::move(name);
    scored.plan = PrecisionPlan::Uniform(pair, 2);
    return scored;
  };
  const std::vector<ScoredPlan> plans = {plan("p00", kQ8), plan("p01", kQ8Q4), plan("p02", kQ5)};
  const std::string sentence = KernelSentence(plans, FindTarget("llama.cpp"));
  EXPECT_THAT(sentence, AllOf(HasSubstr("p01, p02: default CUDA builds"), HasSubstr(".\n")));
  EXPECT_EQ(KernelSentence(std::span(plans).first(1), FindTarget("llama.cpp")), "");
  EXPECT_EQ(KernelSentence(plans, FindTarget("kvtuner")), "");
}

TEST(Gpus, AreKnownByNameAndByNumber) {
  for (const char* name : {"sm_90", "SM90", "sm_90a", "9.0", "90", "H100", "h200", "NVIDIA H100",
                           "H100-SXM5-80GB", "gh200"}) {
    EXPECT_EQ(ComputeCapabilityOf(name), 90) << name;
  }
  EXPECT_EQ(ComputeCapabilityOf("RTX 4090"), 89);
  EXPECT_EQ(ComputeCapabilityOf("4090"), 89);
  EXPECT_EQ(ComputeCapabilityOf("GeForce RTX 3090"), 86);
  EXPECT_EQ(ComputeCapabilityOf("A100-SXM4-80GB"), 80);
  EXPECT_EQ(ComputeCapabilityOf("A100-PCIE-40GB"), 80);
  EXPECT_EQ(ComputeCapabilityOf("rtx4070ti"), 89);
  EXPECT_EQ(ComputeCapabilityOf("12.0"), 120);
  EXPECT_EQ(ComputeCapabilityOf("5.0"), 50);  // the oldest and the newest that are known of
  EXPECT_EQ(ComputeCapabilityOf("sm_129"), 129);
  for (const char* name : {"", "sm_", "9.00", "9", "49", "sm_130", "sm_999", "MI300X", "H1000"}) {
    EXPECT_THAT([name] { ComputeCapabilityOf(name); },
                ThrowsMessage<Error>(HasSubstr("expected a compute capability such as sm_90")))
        << name;
  }
}

// As nvidia-smi writes them.
TEST(Gpus, AreKnownByTheNamesOfTheDriver) {
  EXPECT_EQ(ComputeCapabilityOf("NVIDIA H100 80GB HBM3"), 90);
  EXPECT_EQ(ComputeCapabilityOf("NVIDIA H100 NVL"), 90);
  EXPECT_EQ(ComputeCapabilityOf("NVIDIA GH200 480GB"), 90);
  EXPECT_EQ(ComputeCapabilityOf("NVIDIA A100 80GB PCIe"), 80);
  EXPECT_EQ(ComputeCapabilityOf("NVIDIA A10G"), 86);
  EXPECT_EQ(ComputeCapabilityOf("NVIDIA RTX A6000"), 86);
  EXPECT_EQ(ComputeCapabilityOf("Tesla V100-SXM2-16GB"), 70);
  EXPECT_EQ(ComputeCapabilityOf("NVIDIA GeForce RTX 4070 Ti SUPER"), 89);
  EXPECT_EQ(ComputeCapabilityOf("NVIDIA RTX PRO 6000 Blackwell Server Edition"), 120);
  for (const char* name :
       {"NVIDIA RTX A1000", "NVIDIA TITAN V", "NVIDIA", "Quadro RTX 6000", "Intel A10"}) {
    EXPECT_THAT([name] { ComputeCapabilityOf(name); },
                ThrowsMessage<Error>(HasSubstr("or one of V100, T4")))
        << name;
  }
}

TEST(Gpus, RunFormatsFromACapabilityOn) {
  const auto runs = [](const char* target, KvFormatId format, int capability) {
    return !WhyNotOnGpu(FindTarget(target), format, capability).has_value();
  };
  EXPECT_FALSE(runs("vllm", KvFormatId::kNvfp4, 90));
  EXPECT_TRUE(runs("vllm", KvFormatId::kNvfp4, 100));
  EXPECT_FALSE(runs("vllm", KvFormatId::kFp8E4m3, 86));
  EXPECT_TRUE(runs("vllm", KvFormatId::kFp8E4m3, 89));
  EXPECT_TRUE(runs("vllm", KvFormatId::kInt8PerTokenHead, 75));
  EXPECT_TRUE(runs("tensorrt-llm", KvFormatId::kFp8E4m3Calibrated, 80));
  EXPECT_FALSE(runs("tensorrt-llm", KvFormatId::kNvfp4Calibrated, 90));
  EXPECT_FALSE(runs("ik_llama.cpp", KvFormatId::kIkQ6_0, 61));
  EXPECT_TRUE(runs("llama.cpp", KvFormatId::kQ4_0, 61));
  EXPECT_THAT(WhyNotOnGpu(FindTarget("vllm"), KvFormatId::kNvfp4, 90),
              Optional(HasSubstr("from sm_100 on: ")));
}

TEST(CheckpointScales, TakeThePlaceOfUnitScales) {
  const Target& vllm = FindTarget("vllm");
  const Target stored = WithStoredScales(vllm);
  constexpr PrecisionPair kUnit{KvFormatId::kFp8E4m3, KvFormatId::kFp8E4m3};
  constexpr PrecisionPair kStored{KvFormatId::kFp8E4m3Calibrated, KvFormatId::kFp8E4m3Calibrated};
  EXPECT_THAT(vllm.pairs, ::testing::Contains(kUnit));
  EXPECT_THAT(stored.pairs, ::testing::Not(::testing::Contains(kUnit)));
  EXPECT_THAT(stored.pairs, ::testing::Contains(kStored));
  const PrecisionPlan plan{{kUnit, kExactPair, kUnit}};
  EXPECT_EQ(WithScalesOf(vllm, plan), plan);
  EXPECT_EQ(WithScalesOf(stored, plan), (PrecisionPlan{{kStored, kExactPair, kStored}}));
  // What has no stored form stays: TurboQuant's FP8 keys and E5M2.
  for (const PrecisionPair pair :
       {PrecisionPair{KvFormatId::kFp8E4m3, KvFormatId::kTurboquantValue4},
        PrecisionPair{KvFormatId::kFp8E5m2, KvFormatId::kFp8E5m2}}) {
    EXPECT_EQ(WithScalesOf(stored, {{pair}}), (PrecisionPlan{{pair}}));
    EXPECT_THAT(stored.pairs, ::testing::Contains(pair));
  }
  EXPECT_THAT([] { WithStoredScales(FindTarget("kvtuner")); },
              ThrowsMessage<Error>(HasSubstr("found the target kvtuner, which stores no static")));
}

}  // namespace
}  // namespace kvtune
