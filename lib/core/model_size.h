// The number of parameters of a model, computed from its config.json alone, and whether a device
// has room for them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/model_config.h"

namespace kvtune {

// A device and its memory.
struct DeviceDescription {
  std::string name;        // "cpu", "cuda:0"
  int64_t free_bytes = 0;  // free bytes of its memory
  // The data type of weights when the user leaves the choice to kvtune.
  std::string data_type_name;
  int64_t bytes_per_weight = 0;
};

// Returns the most bytes of layers that WeightMode::kAuto keeps in memory when `free_bytes` are
// free for layers and activations together: two thirds, because a third is for activations.
int64_t ResidentLayerBytes(int64_t free_bytes);

struct ModelSize {
  int64_t outside_layers = 0;   // parameters of embedding, head and final norm
  std::vector<int64_t> layers;  // parameters of each layer

  int64_t parameters() const;
  // Returns how many parameters are in memory at a time when layers are streamed: those of the two
  // neighbouring layers that are largest together, and those outside the layers.
  int64_t streamed_parameters() const;
};

ModelSize SizeOf(const ModelConfig& config);

// Where `--weights auto` keeps the weights, in the device's usual data type. kNowhere: not even two
// layers fit.
enum class WeightPlace { kResident, kStreamed, kNowhere };
WeightPlace PlaceOfWeights(const ModelSize& size, const DeviceDescription& device);

}  // namespace kvtune
