// Runs work on many prompts: in parallel over prompts on a CPU, one after another on a GPU.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "lib/core/model_config.h"

namespace kvtune {

struct PromptLoop {
  int threads = 1;  // of the CPU; 1 on a GPU, whose operators are parallel by themselves
};

// How many prompts to work on at a time. One prompt per thread needs no barrier between operators:
// on a machine with other work, threads that wait for each other after every small operator lose most
// of their time. With so few prompts that over half of the threads would idle, or with activations that
// would not fit, operators are parallel instead. `longest` is in tokens, `variants` the plans that are
// alive together.
PromptLoop PlanPromptLoop(int threads, size_t prompts, size_t longest, size_t variants, const ModelConfig& config);

// Calls work(i) once for every i in [0, count). The first exception is thrown again after all threads
// have stopped.
void ForEachPrompt(const PromptLoop& loop, size_t count, const std::function<void(size_t)>& work);

}  // namespace kvtune
