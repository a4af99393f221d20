// How many parameters a model has, by its config.json alone, and whether a device has room for
// them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/model_config.h"

namespace kvtune {

// A device and its memory.
struct DeviceDescription {
  std::string name;            // "cpu", "cuda:0"
  int64_t free_bytes = 0;      // of its memory
  std::string data_type_name;  // of weights where the user leaves the choice to kvtune
  int64_t bytes_per_weight = 0;
};

// The most bytes of layers that WeightMode::kAuto keeps in memory where so many are free beside
// them: a third of those is for activations.
int64_t ResidentLayerBytes(int64_t free_bytes);

struct ModelSize {
  int64_t outside_layers = 0;   // parameters of embedding, head and last norm
  std::vector<int64_t> layers;  // parameters by layer

  int64_t parameters() const;
  // Of those that are in memory at a time when layers are streamed: two layers and what is outside.
  int64_t streamed_parameters() const;
};

ModelSize SizeOf(const ModelConfig& config);

// Where `--weights auto` has the weights in the device's usual type; kNowhere: not even two layers
// fit.
enum class WeightPlace { kResident, kStreamed, kNowhere };
WeightPlace PlaceOfWeights(const ModelSize& size, const DeviceDescription& device);

}  // namespace kvtune
