// How much memory a device has left.
#pragma once

#include <cstdint>

#include "lib/runner/torch.h"

namespace kvtune {

// Returns how many bytes can be taken now from a GPU's memory, or from the machine's memory. The
// latter is Linux's MemAvailable, but no more than the limits of the process's control group leave.
int64_t FreeMemory(const at::Device& device);

}  // namespace kvtune
