// Times work on a CUDA device. This file is torch-free.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/kernels/cuda/cuda_place.h"

namespace kvtune {

// "NVIDIA H200".
std::string CudaDeviceName(int device);

// Runs `work` twice, which puts kernels on the stream of the place and waits for nothing, then
// captures it as a CUDA graph, so that the time of launches does not count. Replays the graph
// `replays` times in a row, `measurements` times over, and returns the milliseconds of one replay
// by each. Throws Error when the capture fails. REQUIRES: the stream is not the default one.
std::vector<double> TimeReplays(const CudaPlace& place, const std::function<void()>& work,
                                int measurements, int replays);

// The milliseconds of a copy on the device, by each of several measurements after a warm-up that
// lets its clocks rise.
std::vector<double> TimeCopies(const CudaPlace& place, const void* from, void* to, int64_t bytes,
                               int measurements);

}  // namespace kvtune
