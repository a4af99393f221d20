#include "lib/core/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/core/gpu_memory.h"

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

TEST(GpuMemory, NamesMayBeWrittenInManyWays) {
  for (const char* name : {"rtx4090", "RTX 4090", "rtx-4090", "4090", "NVIDIA GeForce RTX 4090"}) {
    EXPECT_EQ(FindGpu(name).name, "RTX 4090") << name;
  }
  // As nvidia-smi writes them.
  EXPECT_EQ(FindGpu("NVIDIA A100-SXM4-80GB").name, "A100-80GB");
  EXPECT_EQ(FindGpu("NVIDIA A100 80GB PCIe").name, "A100-80GB");
  EXPECT_EQ(FindGpu("Tesla V100-SXM2-16GB").name, "V100-16GB");
  EXPECT_EQ(FindGpu("NVIDIA H100 80GB HBM3").name, "H100");
  EXPECT_EQ(FindGpu("NVIDIA H100 NVL").name, "H100-NVL");
  EXPECT_EQ(FindGpu("Tesla T4").name, "T4");
  EXPECT_EQ(FindGpu("NVIDIA RTX A6000").name, "RTX A6000");
  EXPECT_EQ(FindGpu("NVIDIA RTX 6000 Ada Generation").name, "RTX 6000 Ada");
  EXPECT_THAT([] { FindGpu("A100"); }, ThrowsMessage<Error>(HasSubstr("A100-40GB, A100-80GB")));
  EXPECT_THAT([] { FindGpu("nvidia"); }, ThrowsMessage<Error>(HasSubstr("expected one of T4")));
  EXPECT_THAT([] { FindGpu("h10"); },
              ThrowsMessage<Error>(HasSubstr("found \"h10\" (did you mean \"H100\"?)")));
  EXPECT_THAT([] { FindGpu(""); }, ThrowsMessage<Error>(HasSubstr("--memory SIZE")));
}

// Each name leads to its own row, and each row says where it is from.
TEST(GpuMemory, RowsAreDistinctAndHaveSources) {
  for (const GpuMemory& gpu : GpuMemories()) {
    EXPECT_EQ(&FindGpu(gpu.name), &gpu) << gpu.name;
    EXPECT_TRUE(gpu.source.starts_with("https://")) << gpu.name;
    EXPECT_GE(gpu.gibibytes, 16) << gpu.name;
  }
}

}  // namespace
}  // namespace kvtune
