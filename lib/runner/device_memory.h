// How much memory a device has left.
#pragma once

#include <cstdint>

#include "lib/runner/torch.h"

namespace kvtune {

// Returns how many bytes can be taken now from a GPU's memory, or from the machine's memory. The
// latter is Linux's MemAvailable, but no more than the limits of the process's control group leave.
int64_t FreeMemory(const at::Device& device);

// Gives the memory that libtorch keeps for later back to the device; nothing on a CPU.
void ReturnUnusedMemory(const at::Device& device);

// The most bytes that tensors have taken on the device at a time; 0 for a CPU, where libtorch does
// not count.
int64_t PeakMemory(const at::Device& device);

}  // namespace kvtune
