#include "lib/core/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/core/gpus.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr uint64_t kGibibyte = uint64_t{1} << 30;

TEST(MemoryBudget, WhatTheWeightsLeaveIsForTheCache) {
  MemoryOptions options;
  options.memory_bytes = 24 * kGibibyte;
  options.parallel = 4;
  const MemoryBudget budget = BudgetOf(options, 16.0 * kGibibyte, 32768);
  EXPECT_EQ(budget.memory_name, "24.0 GiB");
  EXPECT_DOUBLE_EQ(budget.left_bytes(), 8.0 * kGibibyte);
  EXPECT_DOUBLE_EQ(budget.most_bytes_per_token(), 8.0 * kGibibyte / (4 * 32768));
  EXPECT_TRUE(budget.Fits(65536));  // 4 x 32768 x 65536 is 8 GiB exactly
  EXPECT_FALSE(budget.Fits(65537));
  EXPECT_EQ(budget.FittingTokens(65536), 4 * 32768);
}

TEST(MemoryBudget, OtherWeightsMayBeServed) {
  MemoryOptions options;
  options.memory_bytes = 8 * kGibibyte;
  EXPECT_FALSE(BudgetOf(options, 16.0 * kGibibyte, 1024).weights_fit());
  EXPECT_EQ(BudgetOf(options, 16.0 * kGibibyte, 1024).left_bytes(), 0);
  options.weight_bytes = 5 * kGibibyte;
  EXPECT_DOUBLE_EQ(BudgetOf(options, 16.0 * kGibibyte, 1024).left_bytes(), 3.0 * kGibibyte);
}

TEST(MemoryBudget, AGpuStandsForItsMemory) {
  MemoryOptions options;
  options.gpu = "h100";
  const MemoryBudget budget = BudgetOf(options, 0, 1);
  EXPECT_EQ(budget.memory_name, "H100 (80.0 GiB)");
  EXPECT_DOUBLE_EQ(budget.memory_bytes, 80.0 * kGibibyte);
}

TEST(MemoryBudget, NeedsOneMemory) {
  EXPECT_THAT([] { BudgetOf({}, 0, 1); }, ThrowsMessage<Error>(HasSubstr("found no memory")));
  MemoryOptions both;
  both.memory_bytes = 1;
  both.gpu = "h100";
  EXPECT_THAT([&] { BudgetOf(both, 0, 1); }, ThrowsMessage<Error>(HasSubstr("found both")));
}

TEST(Gpu, NamesMayBeWrittenInManyWays) {
  for (const char* name : {"rtx4090", "RTX 4090", "rtx-4090", "4090", "NVIDIA GeForce RTX 4090"}) {
    EXPECT_EQ(FindGpuWithMemory(name).name, "RTX 4090") << name;
  }
  // As nvidia-smi writes them.
  EXPECT_EQ(FindGpuWithMemory("NVIDIA A100-SXM4-80GB").name, "A100-80GB");
  EXPECT_EQ(FindGpuWithMemory("NVIDIA A100 80GB PCIe").name, "A100-80GB");
  EXPECT_EQ(FindGpuWithMemory("Tesla V100-SXM2-16GB").name, "V100-16GB");
  EXPECT_EQ(FindGpuWithMemory("NVIDIA H100 80GB HBM3").name, "H100");
  EXPECT_EQ(FindGpuWithMemory("NVIDIA H100 NVL").name, "H100-NVL");
  EXPECT_EQ(FindGpuWithMemory("Tesla T4").name, "T4");
  EXPECT_EQ(FindGpuWithMemory("NVIDIA RTX A6000").name, "RTX A6000");
  EXPECT_EQ(FindGpuWithMemory("NVIDIA RTX 6000 Ada Generation").name, "RTX 6000 Ada");
  EXPECT_THAT([] { FindGpuWithMemory("A100"); },
              ThrowsMessage<Error>(HasSubstr("A100-40GB, A100-80GB")));
  EXPECT_THAT([] { FindGpuWithMemory("nvidia"); },
              ThrowsMessage<Error>(HasSubstr("expected one of V100-16GB, V100-32GB, T4")));
  EXPECT_THAT([] { FindGpuWithMemory("h10"); },
              ThrowsMessage<Error>(HasSubstr("found \"h10\" (did you mean \"H100\"?)")));
  EXPECT_THAT([] { FindGpuWithMemory(""); }, ThrowsMessage<Error>(HasSubstr("--memory SIZE")));
}

// Each name leads to its own row, and each memory says where it is from.
TEST(Gpu, RowsAreDistinctAndHaveSources) {
  for (const Gpu& gpu : Gpus()) {
    if (gpu.compute_capability != 0) {
      const Gpu* found = FindNvidiaGpu(gpu.name);
      ASSERT_NE(found, nullptr) << gpu.name;
      EXPECT_EQ(found->compute_capability, gpu.compute_capability) << gpu.name;
    }
    if (gpu.gibibytes == 0) continue;
    EXPECT_EQ(&FindGpuWithMemory(gpu.name), &gpu) << gpu.name;
    EXPECT_TRUE(gpu.source.starts_with("https://")) << gpu.name;
    EXPECT_GE(gpu.gibibytes, 16) << gpu.name;
  }
}

TEST(Gpu, NvidiaNamesGoOnAndMemoryDoesNotCount) {
  EXPECT_EQ(FindNvidiaGpu("NVIDIA A100-SXM4-64GB")->compute_capability, 80);
  EXPECT_EQ(FindNvidiaGpu("H100 NVL 94GB")->name, "H100-NVL");
  EXPECT_EQ(FindNvidiaGpu("NVIDIA RTX 6000 Ada Generation")->compute_capability, 89);
  for (const char* name : {"MI300X", "Quadro RTX 6000", "H1000", "", "nvidia"})
    EXPECT_EQ(FindNvidiaGpu(name), nullptr) << name;
  const std::vector<std::string> names = NvidiaGpuNames();
  EXPECT_EQ(std::ranges::count(names, "A100"), 1);
  EXPECT_EQ(std::ranges::count(names, "MI300X"), 0);
}

}  // namespace
}  // namespace kvtune
