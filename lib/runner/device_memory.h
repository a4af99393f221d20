// How much memory a device has left.
#pragma once

#include <cstdint>

#include "lib/runner/torch.h"

namespace kvtune {

// Bytes that can be taken now: of a GPU's memory, or of the machine's (Linux' MemAvailable, and no
// more than the limits of the process's control group leave).
int64_t FreeMemory(const at::Device& device);

}  // namespace kvtune
