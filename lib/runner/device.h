// The device that a model runs on, for those who do not see libtorch.
#pragma once

#include <cstdint>
#include <string>

namespace kvtune {

struct DeviceDescription {
  std::string name;            // "cpu", "cuda:0"
  int64_t free_bytes = 0;      // of its memory
  std::string data_type_name;  // of weights where the user leaves the choice to kvtune
  int64_t bytes_per_weight = 0;
};

// `device` as in RunnerOptions. Throws Error for one that is unknown or absent.
DeviceDescription DescribeDevice(const std::string& device);

// The most bytes of layers that WeightMode::kAuto keeps in memory where so many are free beside
// them: a third of those is for activations.
int64_t ResidentLayerBytes(int64_t free_bytes);

}  // namespace kvtune
