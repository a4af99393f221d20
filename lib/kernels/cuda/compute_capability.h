// What a GPU can do, by its generation. This file is torch-free.
#pragma once

namespace kvtune {

// The compute capability of a device times ten: 90 for Hopper.
int ComputeCapability(int device);

}  // namespace kvtune
