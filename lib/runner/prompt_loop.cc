#include "lib/runner/prompt_loop.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace kvtune {
namespace {

// Activations that all threads together may hold.
constexpr size_t kActivationBytes = size_t{4} << 30;

}  // namespace

PromptLoop PlanPromptLoop(int threads, size_t prompts, size_t longest, size_t variants, const ModelConfig& config) {
  // Per token and variant: the residual stream twice, queries, keys, values and attention output of
  // the widest layer, keys and values also as read back.
  int64_t widest = 0;
  for (const LayerConfig& layer : config.layers) {
    widest = std::max(widest, config.query_heads * (layer.key_head_dim + layer.value_head_dim) +
                                  2 * (layer.kv_width(KvSide::kKey) + layer.kv_width(KvSide::kValue)));
  }
  const auto elements = static_cast<size_t>(2 * config.hidden_size + widest);
  const size_t bytes_per_prompt = std::max<size_t>(1, longest * variants * elements * sizeof(float));
  const size_t workers = std::min(static_cast<size_t>(threads), prompts);
  const bool busy_enough = 2 * workers >= static_cast<size_t>(threads);
  return {busy_enough && bytes_per_prompt * workers <= kActivationBytes ? static_cast<int>(workers) : 1};
}

void ForEachPrompt(const PromptLoop& loop, size_t count, const std::function<void(size_t)>& work) {
  if (loop.threads <= 1) {
    for (size_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::atomic<bool> failed = false;
  std::exception_ptr first_error;
  std::mutex error_mutex;
  // Operators inside this region find themselves in a parallel one and stay on their thread.
#pragma omp parallel for schedule(dynamic, 1) num_threads(loop.threads)
  for (size_t i = 0; i < count; ++i) {
    if (failed) continue;
    try {
      work(i);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!first_error) first_error = std::current_exception();
      failed = true;
    }
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace kvtune
