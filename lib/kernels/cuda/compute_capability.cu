#include "lib/kernels/cuda/compute_capability.h"
#include "lib/kernels/cuda/device.cuh"

namespace kvtune {

int ComputeCapability(int device) {
  int major = 0, minor = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  RequireLaunched("asking what a GPU can do");
  return 10 * major + minor;
}

}  // namespace kvtune
