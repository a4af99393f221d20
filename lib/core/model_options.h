// How a model is run: on which device, in which arithmetic, and how its weights are kept. Also the
// words by which a user chooses, for this and for what a run is made from.
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/words.h"
#include "lib/core/cache_maxima.h"
#include "lib/core/provenance.h"

namespace kvtune {

// The data type of weights and activations. kAuto is float32 on a CPU and bfloat16 on CUDA.
enum class DataType { kAuto, kFloat32, kBFloat16, kFloat16 };
inline constexpr Word<DataType> kDataTypeWords[] = {{"auto", DataType::kAuto},
                                                    {"float32", DataType::kFloat32},
                                                    {"bfloat16", DataType::kBFloat16},
                                                    {"float16", DataType::kFloat16}};

// kQuantized: attention within the prompt reads the quantized cache, so errors accumulate over
// layers (KVTuner, 5.3). kExact: the first half of every prompt attends exactly, and only what it
// stores in the cache is quantized; the second half is scored as decoding over that cache.
enum class PrefillMode { kQuantized, kExact };
inline constexpr Word<PrefillMode> kPrefillWords[] = {{"quantized", PrefillMode::kQuantized},
                                                      {"exact", PrefillMode::kExact}};

// kResident: all weights are loaded once. kStream: at most two layers are in memory, and every pass
// reads the checkpoint again. kAuto: the weights are resident if the layers leave a third of the
// device's free memory.
enum class WeightMode { kAuto, kResident, kStream };
inline constexpr Word<WeightMode> kWeightWords[] = {{"auto", WeightMode::kAuto},
                                                    {"resident", WeightMode::kResident},
                                                    {"stream", WeightMode::kStream}};

inline constexpr Word<CacheScales> kCacheScaleWords[] = {{"calibrated", CacheScales::kCalibrated},
                                                         {"checkpoint", CacheScales::kCheckpoint}};
inline constexpr Word<KernelChoice> kKernelWords[] = {{"default", KernelChoice::kDefault},
                                                      {"all", KernelChoice::kAll}};

struct ModelOptions {
  std::string device = "auto";  // "auto", "cpu", "cuda", "cuda:N"
  DataType data_type = DataType::kAuto;
  int threads = 0;  // 0: OMP_NUM_THREADS, or all cores if that is unset
  PrefillMode prefill = PrefillMode::kQuantized;
  WeightMode weights = WeightMode::kAuto;
  // Over how many GPUs of this host the layers are split, from `device` on; on a CPU as many parts
  // of it. 1: over none; 0: over as few as have room for them, where one has not.
  int split_layers = 0;
  // The most bytes of hidden states that are in memory at a time. Streamed weights need the hidden
  // states of all prompts under all plans; what exceeds this limit waits in a temporary file. The
  // hidden states of one prompt have to fit twice. 0 stands for a quarter of the memory that is
  // free once the weights are loaded.
  uint64_t max_activation_bytes = 0;
};

}  // namespace kvtune
