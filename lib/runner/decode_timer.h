// Times decode steps over really packed caches on this machine's device, for code that does not see
// libtorch.
#pragma once

#include <memory>
#include <string>

#include "lib/core/decode_timer.h"
#include "lib/core/model_config.h"

namespace kvtune {

// `device` is named as in ModelOptions. Only the shapes of the model count: weights, keys and
// values are random. A step is that of a dense decoder, in bfloat16. Layers whose weights or caches
// are much larger than the device's caches share them, so that a large model needs little memory.
// Throws Error for a device that is unknown, absent, or without kernels.
std::unique_ptr<DecodeTimer> MakeDecodeTimer(const ModelConfig& config, const std::string& device);

}  // namespace kvtune
