#include "lib/run/inspection.h"

#include <gtest/gtest.h>

#include "tests/support/fake_run.h"

namespace kvtune {
namespace {

TEST(Inspection, SaysNothingOfThisMachineUnlessAsked) {
  const FakeRun fake;
  InspectOptions options;
  options.model = fake.model();
  const Inspection inspection = InspectModel(options, std::nullopt);
  EXPECT_FALSE(inspection.device.has_value());
  EXPECT_FALSE(inspection.budget.has_value());
  ASSERT_TRUE(inspection.weights.has_value());
  EXPECT_EQ(inspection.served_bytes(), static_cast<double>(inspection.weights->bytes));
  EXPECT_EQ(inspection.caches.front().plan.name, "exact");
  EXPECT_EQ(inspection.caches.size(), 10u);
}

TEST(Inspection, TheBudgetIsOfTheMemoryThatWasAskedForFirst) {
  const FakeRun fake;
  InspectOptions options;
  options.model = fake.model();
  options.context = 100;
  DeviceDescription device;
  device.name = "cpu";
  device.free_bytes = 1 << 20;
  EXPECT_EQ(InspectModel(options, device).budget->memory_name, "cpu (1.00 MiB free)");
  EXPECT_EQ(InspectModel(options, device).budget->memory_bytes, 1 << 20);
  options.memory.memory_bytes = 1 << 21;
  const MemoryBudget budget = *InspectModel(options, device).budget;
  EXPECT_EQ(budget.memory_name, "2.00 MiB");
  EXPECT_EQ(budget.context, 100);
}

TEST(Inspection, WeightsThatAreNotThereTakeTwoBytesAParameter) {
  const FakeRun fake;
  std::filesystem::create_directory(fake / "config alone");
  std::filesystem::copy(fake.model() / "config.json", fake / "config alone");
  InspectOptions options;
  options.model = fake / "config alone";
  DeviceDescription device;
  device.name = "gpu";
  device.free_bytes = -5;  // a driver may say that less than nothing is left
  const Inspection inspection = InspectModel(options, device);
  EXPECT_FALSE(inspection.weights.has_value());
  EXPECT_EQ(inspection.served_bytes(), 2.0 * static_cast<double>(inspection.size.parameters()));
  EXPECT_EQ(inspection.budget->weight_bytes, inspection.served_bytes());
  EXPECT_EQ(inspection.budget->memory_bytes, 0);
}

TEST(Inspection, NoWeightsWithoutAFolderOfThem) {
  const FakeRun fake;
  EXPECT_FALSE(WeightsOf(fake / "nowhere").has_value());
  EXPECT_FALSE(WeightsOf(fake.model() / "config.json").has_value());
  std::filesystem::create_directory(fake / "config alone");
  std::filesystem::copy(fake.model() / "config.json", fake / "config alone");
  EXPECT_FALSE(WeightsOf(fake / "config alone").has_value());
}

}  // namespace
}  // namespace kvtune
