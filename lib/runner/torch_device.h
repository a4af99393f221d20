// Devices and data types by name, in libtorch's terms.
#pragma once

#include <string>

#include "lib/runner/torch.h"

namespace kvtune {

// "auto", "cpu", "cuda", "cuda:N". Throws Error for a device that is unknown or absent.
at::Device ResolveDevice(const std::string& name);

// float32 on a CPU, bfloat16 on CUDA.
at::ScalarType DefaultType(const at::Device& device);

// "float32", ...
std::string TypeName(at::ScalarType type);

}  // namespace kvtune
