// Translates the names of devices and data types into libtorch's terms.
#pragma once

#include <string>

#include "lib/runner/torch.h"

namespace kvtune {

// `name` is "auto", "cpu", "cuda" or "cuda:N". Throws Error for a device that is unknown or absent.
at::Device ResolveDevice(const std::string& name);

// The number of CUDA devices that this process sees.
int DeviceCount();

// Returns float32 on a CPU and bfloat16 on CUDA.
at::ScalarType DefaultType(const at::Device& device);

// Returns "float32", ...
std::string TypeName(at::ScalarType type);

}  // namespace kvtune
