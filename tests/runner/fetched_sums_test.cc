#include "lib/runner/fetched_sums.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <vector>

namespace kvtune {
namespace {

std::vector<double> Numbers(std::span<const double> part) { return {part.begin(), part.end()}; }

class FetchedSumsOnDevice : public ::testing::TestWithParam<at::DeviceType> {
 protected:
  void SetUp() override {
    if (GetParam() == at::kCUDA && !at::hasCUDA()) GTEST_SKIP() << "no CUDA device";
  }
  at::TensorOptions options() const { return at::TensorOptions(at::kDouble).device(GetParam()); }
};

TEST_P(FetchedSumsOnDevice, EachTensorIsReadRowByRow) {
  const at::Tensor table = at::tensor({1., 2., 3., 4.}, options()).view({2, 2});
  const FetchedSums sums({table.t(), at::empty({0, 3}, options()), at::tensor({5.}, options())});
  const auto parts = sums.Read();
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(Numbers(parts[0]), (std::vector<double>{1, 3, 2, 4}));
  EXPECT_TRUE(parts[1].empty());
  EXPECT_EQ(Numbers(parts[2]), std::vector<double>{5});
}

TEST_P(FetchedSumsOnDevice, WhatTheDeviceDoesAfterwardsChangesNothing) {
  at::Tensor table = at::tensor({1., 2.}, options());
  const FetchedSums sums({table});
  table.fill_(7);
  EXPECT_EQ(Numbers(sums.Read()[0]), (std::vector<double>{1, 2}));
}

INSTANTIATE_TEST_SUITE_P(Devices, FetchedSumsOnDevice, ::testing::Values(at::kCPU, at::kCUDA));

}  // namespace
}  // namespace kvtune
