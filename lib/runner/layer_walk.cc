#include "lib/runner/layer_walk.h"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

#include "lib/kernels/parallel_loop.h"
#include "lib/runner/activation_store.h"

namespace kvtune {
namespace {

// Orders the prompts by length, longest first, so that the threads end at about the same time.
std::vector<size_t> ByLength(std::span<const TokenIds> prompts) {
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(
      order, [&](size_t a, size_t b) { return prompts[a].size() > prompts[b].size(); });
  return order;
}

// Counts the steps of prompts through layers and reports one prompt whenever as many steps are done
// as there are layers.
class StepCounter {
 public:
  StepCounter(size_t layers, const MeasuredModel::OnProgress& progress)
      : layers_(layers), progress_(progress) {}

  void Count() {
    const std::lock_guard lock(mutex_);
    if (++steps_ % layers_ == 0 && progress_) progress_(1);
  }

 private:
  size_t layers_;
  size_t steps_ = 0;
  const MeasuredModel::OnProgress& progress_;
  std::mutex mutex_;
};

}  // namespace

// One prompt per thread needs no barrier between operators. On a machine with other work, threads
// that wait for each other after every small operator lose most of their time. When there are so
// few prompts (or so little memory) that more than half of the threads would be idle, the variants
// of one prompt run in parallel instead.
int LayerWalk::PromptsAtATime(size_t prompts, int64_t largest_bytes) const {
  // A prompt holds the input and the output of a layer at the same time.
  const int64_t fitting = max_activation_bytes_ / std::max<int64_t>(1, 2 * largest_bytes);
  if (!decoder_.options().device().is_cpu()) {
    // The operators of a GPU are parallel by themselves. Of several GPUs each works on a prompt.
    const int64_t stages = std::ssize(decoder_.stages());
    return static_cast<int>(
        std::max<int64_t>(1, std::min({stages, static_cast<int64_t>(prompts), fitting})));
  }
  const int64_t workers =
      std::min({static_cast<int64_t>(threads_), static_cast<int64_t>(prompts), fitting});
  return 2 * workers >= threads_ ? static_cast<int>(workers) : 1;
}

void LayerWalk::Run(std::span<const TokenIds> prompts, size_t variants, const PromptSteps& steps,
                    const MeasuredModel::OnProgress& progress) {
  if (prompts.empty()) return;
  const ModelConfig& config = decoder_.config();
  const size_t layers = config.layers.size();
  const std::vector<size_t> order = ByLength(prompts);
  std::vector<int64_t> bytes;  // in the order of `order`
  for (const size_t prompt : order) {
    bytes.push_back(static_cast<int64_t>(prompts[prompt].size() * std::max<size_t>(variants, 1)) *
                    config.hidden_size *
                    static_cast<int64_t>(decoder_.options().dtype().itemsize()));
  }
  const int workers = PromptsAtATime(prompts.size(), bytes.front());
  StepCounter counter(layers, progress);
  const auto step = [&](size_t prompt, size_t layer, at::Tensor hidden) {
    hidden = steps.advance(prompt, layer, decoder_.BroughtTo(layer, std::move(hidden)));
    if (layer + 1 == layers) steps.end(prompt, decoder_.BroughtHome(std::exchange(hidden, {})));
    counter.Count();
    return hidden;
  };
  if (!decoder_.streams()) {
    ParallelLoop(workers, order.size(), [&](size_t i) {
      const c10::InferenceMode no_gradients;  // thread-local, so each thread needs its own
      at::Tensor hidden = steps.begin(order[i]);
      for (size_t layer = 0; layer < layers; ++layer)
        hidden = step(order[i], layer, std::move(hidden));
    });
    return;
  }
  // Beside the prompts that wait, each worker holds the input and the output of a layer.
  const int64_t in_work = 2 * bytes.front() * workers;
  ActivationStore waiting(bytes, std::max<int64_t>(0, max_activation_bytes_ - in_work));
  for (size_t layer = 0; layer < layers; ++layer) {
    stream_.Enter(layer);
    ParallelLoop(workers, order.size(), [&](size_t i) {
      const c10::InferenceMode no_gradients;
      at::Tensor hidden =
          step(order[i], layer, layer == 0 ? steps.begin(order[i]) : waiting.Take(i));
      if (hidden.defined()) waiting.Put(i, std::move(hidden));
    });
  }
  stream_.Leave();
}

}  // namespace kvtune
