#include "lib/runner/decode_timer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/core/model_size.h"
#include "lib/kernels/packed_layout.h"
#include "lib/runner/cuda_kernels.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/packed_layer.h"
#include "lib/runner/rotary.h"
#include "lib/runner/row_ops.h"
#include "lib/runner/torch.h"
#include "lib/runner/torch_device.h"
#include "lib/runner/torch_errors.h"
#if defined(KVTUNE_CUDA_KERNELS)
#include "lib/kernels/cuda/timing.h"
#endif

namespace kvtune {
namespace {

constexpr int kMeasurements = 7;
constexpr double kMeasuredMilliseconds = 20;  // of one measurement, about
// Layers have weights and caches of their own as long as these take no more bytes in all, so that
// no device's cache holds what a step of a whole model would have pushed out of it.
constexpr int64_t kDistinctBytes = int64_t{1} << 29;
// The share of the device's free memory that serving engines take by default.
constexpr double kUsableMemory = 0.9;

// How many things of this size a step takes in turn.
int64_t DistinctCount(int64_t bytes, int64_t wanted) {
  return std::clamp<int64_t>(kDistinctBytes / std::max<int64_t>(1, bytes) + 1, 1, wanted);
}

// The weights of a layer; biases and the norms of queries and keys take no time worth counting.
struct StepWeights {
  at::Tensor norm, qkv, output, mlp_norm, gate_up, down;
};

class TorchDecodeTimer : public DecodeTimer {
 public:
  TorchDecodeTimer(const ModelConfig& config, const at::Device& device)
      : config_(config),
        device_(device),
        options_(at::TensorOptions(at::kBFloat16).device(device)),
        free_bytes_(FreeMemory(device)) {
    RequireKernels();
  }

  std::string device_name() const override {
#if defined(KVTUNE_CUDA_KERNELS)
    if (device_.is_cuda()) return CudaDeviceName(device_.index());
#endif
    return device_.str();
  }

  double CopyBandwidth() override {
    return Guarded("measuring the copy bandwidth", [&] {
      const int64_t bytes = int64_t{1} << (device_.is_cpu() ? 28 : 31);
      const at::Tensor from = at::zeros({bytes}, options_.dtype(at::kByte));
      at::Tensor to = at::empty_like(from);
      const Timing time = TimingOf(MeasureCopy(from, to));
      return 2 * static_cast<double>(bytes) / (time.median / 1000);
    });
  }

  int64_t CacheMemory() override {
    const auto weights = 2.0 * static_cast<double>(SizeOf(config_).parameters());
    return std::max<int64_t>(
        0, static_cast<int64_t>(kUsableMemory * static_cast<double>(free_bytes_) - weights));
  }

  std::string WhyNot(size_t layer, PrecisionPair pair) const override {
    const LayerConfig& shape = config_.layers[layer];
    if (shape.key_head_dim != shape.value_head_dim) {
      return "found heads of " + std::to_string(shape.key_head_dim) + " channels for keys and " +
             std::to_string(shape.value_head_dim) + " for values, expected the same";
    }
    return WhyNotPacked(pair, shape.key_head_dim);
  }

  TimedAttention TimeAttention(size_t layer, PrecisionPair pair,
                               const DecodeSetting& setting) override {
    return Guarded("timing attention", [&]() -> TimedAttention {
      RequireFitting(CacheBytesOf(layer, pair, setting), setting);
      const int64_t count = DistinctCount(CacheBytesOf(layer, pair, setting), 64);
      std::vector<PackedLayer> caches = CachesOf(layer, pair, setting, count);
      const at::Tensor query = at::randn(
          {setting.batch, config_.query_heads, config_.layers[layer].key_head_dim}, options_);
      at::Tensor out = at::empty_like(query);
      std::vector<double> times = Measure([&] {
        for (PackedLayer& cache : caches) cache.Attend(query, RuleOf(layer), out);
      });
      for (double& time : times) time /= static_cast<double>(count);
      return {TimingOf(std::move(times)), ReadBytes(layer, pair, setting)};
    });
  }

  TimedStep TimeStep(const PrecisionPlan& plan, const DecodeSetting& setting) override {
    return Guarded("timing a decode step", [&]() -> TimedStep {
      if (std::ranges::any_of(config_.layers, &LayerConfig::has_experts)) {
        throw Error(
            "timing a decode step: found a mixture of experts, expected a dense model; the time of "
            "attention alone is measured for all");
      }
      return TimeDenseStep(plan, setting);
    });
  }

  int64_t CacheBytes(const PrecisionPlan& plan, const DecodeSetting& setting) const override {
    int64_t bytes = 0;
    for (size_t layer = 0; layer < plan.layers.size(); ++layer)
      bytes += CacheBytesOf(layer, plan.layers[layer], setting);
    return bytes;
  }

 private:
  // Work on a device has a stream of its own, because the default one cannot be captured.
  template <typename Function>
  std::invoke_result_t<Function> Guarded(const char* doing, const Function& function) {
    return WithTorchErrors(doing, [&] {
      const c10::InferenceMode inference;
      std::optional<c10::StreamGuard> stream;
      if (device_.is_cuda()) {
        const c10::impl::VirtualGuardImpl guard(device_.type());
        stream.emplace(guard.getStreamFromGlobalPool(device_));
      }
      ReturnUnusedMemory(device_);
      return function();
    });
  }

  void RequireKernels() const {
#if !defined(KVTUNE_CUDA_KERNELS)
    if (!device_.is_cpu()) {
      throw Error("timing decode steps on " + device_.str() +
                  ": found a kvtune that was built without CUDA kernels, expected "
                  "-DKVTUNE_CUDA=ON or --device cpu");
    }
#endif
  }

  // The milliseconds of `work` in several measurements, each long enough for the clock.
  std::vector<double> Measure(const std::function<void()>& work) const {
#if defined(KVTUNE_CUDA_KERNELS)
    if (device_.is_cuda()) {
      const CudaPlace place = PlaceOf(at::empty({1}, options_));
      const double once = TimeReplays(place, work, 1, 1).front();
      const int replays = static_cast<int>(std::clamp(kMeasuredMilliseconds / once, 1.0, 1000.0));
      return TimeReplays(place, work, kMeasurements, replays);
    }
#endif
    std::vector<double> milliseconds;
    work();
    for (int i = 0; i < kMeasurements; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      work();
      const std::chrono::duration<double, std::milli> taken =
          std::chrono::steady_clock::now() - begin;
      milliseconds.push_back(taken.count());
    }
    return milliseconds;
  }

  std::vector<double> MeasureCopy(const at::Tensor& from, at::Tensor& to) const {
#if defined(KVTUNE_CUDA_KERNELS)
    if (device_.is_cuda()) {
      return TimeCopies(PlaceOf(from), from.const_data_ptr(), to.mutable_data_ptr(),
                        static_cast<int64_t>(from.nbytes()), kMeasurements);
    }
#endif
    return Measure([&] { to.copy_(from); });
  }

  // The tokens of a layer's sequences in a step: the context, and the newest one.
  int64_t TokensOf(size_t layer, const DecodeSetting& setting) const {
    const int64_t window = config_.layers[layer].window_tokens;
    const int64_t tokens = setting.context_tokens + 1;
    return window > 0 ? std::min(tokens, window) : tokens;
  }

  PackedLayout LayoutOf(size_t layer, PrecisionPair pair) const {
    if (const std::string reason = WhyNot(layer, pair); !reason.empty()) {
      throw Error("packing the cache of layer " + std::to_string(layer) + ": " + reason);
    }
    return PackedLayoutOf(pair, config_.layers[layer].key_head_dim);
  }

  // As PackedLayer takes them.
  int64_t CacheBytesOf(size_t layer, PrecisionPair pair, const DecodeSetting& setting) const {
    return setting.batch * config_.layers[layer].kv_heads *
           LayoutOf(layer, pair).BytesOf(TokensOf(layer, setting));
  }

  // The bytes of the tokens that attention reads, without the rest of the last page.
  int64_t ReadBytes(size_t layer, PrecisionPair pair, const DecodeSetting& setting) const {
    const PackedLayout layout = LayoutOf(layer, pair);
    const int64_t tokens = TokensOf(layer, setting), packed = layout.PackedTokens(tokens);
    const int64_t in_window = layout.window_tokens == 0
                                  ? 0
                                  : (tokens - packed) * layout.window.bytes / layout.window_tokens;
    return setting.batch * config_.layers[layer].kv_heads *
           (packed * layout.page.bytes / kPageTokens + in_window);
  }

  void RequireFitting(int64_t bytes, const DecodeSetting& setting) const {
    if (bytes <= FreeMemory(device_)) return;
    throw Error("timing decode steps: found caches of " + std::to_string(bytes) +
                " bytes for a batch of " + std::to_string(setting.batch) + " with " +
                std::to_string(setting.context_tokens) +
                " tokens, expected no more than the device has free");
  }

  std::vector<PackedLayer> CachesOf(size_t layer, PrecisionPair pair, const DecodeSetting& setting,
                                    int64_t count) const {
    std::vector<PackedLayer> caches;
    for (int64_t i = 0; i < count; ++i) {
      caches.emplace_back(LayoutOf(layer, pair), setting.batch, config_.layers[layer].kv_heads,
                          TokensOf(layer, setting), device_);
      caches.back().FillRandomly();
    }
    return caches;
  }

  PackedLayer::Rule RuleOf(size_t layer) const {
    return {config_.attention_scale, config_.attention_soft_cap,
            config_.layers[layer].window_tokens};
  }

  at::Tensor RandomWeight(int64_t rows, int64_t columns) const {
    return at::randn({rows, columns}, options_).mul_(1 / std::sqrt(static_cast<double>(columns)));
  }

  StepWeights WeightsOf(size_t layer) const {
    const LayerConfig& shape = config_.layers[layer];
    const int64_t hidden = config_.hidden_size, wide = config_.intermediate_size;
    const int64_t queries = config_.query_heads * shape.key_head_dim;
    return {at::ones({hidden}, options_),
            RandomWeight(queries + 2 * shape.kv_heads * shape.key_head_dim, hidden),
            RandomWeight(hidden, queries),
            at::ones({hidden}, options_),
            RandomWeight(config_.has_gate() ? 2 * wide : wide, hidden),
            RandomWeight(hidden, wide)};
  }

  // [batch, heads, head_dim], rotated unless the angles are undefined
  at::Tensor HeadsOf(const at::Tensor& projected, int64_t first_channel, int64_t heads,
                     int64_t head_dim, const RotaryTables& angles) const {
    const int64_t batch = projected.size(0);
    if (UsesCudaKernels(projected)) {
      const HeadLayout layout{batch, 1, projected.size(1), first_channel, heads, head_dim};
      return CudaGatherHeads(projected.view({batch, 1, -1}), layout, angles, 1)
          .view({batch, heads, head_dim});
    }
    const at::Tensor own =
        projected.narrow(1, first_channel, heads * head_dim).unflatten(1, {heads, 1, head_dim});
    return (angles.cos.defined() ? Rotate(own, angles) : own.contiguous())
        .view({batch, heads, head_dim});
  }

  // Adds what the layer makes of the states, [batch, hidden], in place.
  void StepOfLayer(size_t layer, const StepWeights& weights, const RotaryTables& angles,
                   PackedLayer& cache, at::Tensor& states) const {
    const LayerConfig& shape = config_.layers[layer];
    const int64_t head_dim = shape.key_head_dim, queries = config_.query_heads;
    const at::Tensor projected =
        at::linear(RmsNorm(states, weights.norm, config_.norm_eps), weights.qkv);
    const at::Tensor query = HeadsOf(projected, 0, queries, head_dim, angles);
    const at::Tensor keys =
        HeadsOf(projected, queries * head_dim, shape.kv_heads, head_dim, angles);
    const at::Tensor values =
        HeadsOf(projected, (queries + shape.kv_heads) * head_dim, shape.kv_heads, head_dim, {});
    at::Tensor out = at::empty_like(query);
    cache.Append(keys, values);
    cache.Attend(query, RuleOf(layer), out);
    cache.Flush();
    const at::Tensor normed =
        AddAndRmsNorm(states, at::linear(out.view({states.size(0), -1}), weights.output), 1,
                      weights.mlp_norm, config_.norm_eps, states);
    const at::Tensor wide = at::linear(normed, weights.gate_up);
    states.add_(at::linear(config_.has_gate() ? Gated(wide, config_.activation)
                                              : Activated(wide, config_.plain_activation),
                           weights.down));
  }

  TimedStep TimeDenseStep(const PrecisionPlan& plan, const DecodeSetting& setting) {
    // Layers of one shape share weights, and those of one shape and pair share caches, in turn.
    const std::vector<LayerShape> shapes = LayerShapesOf(config_);
    std::vector<std::vector<StepWeights>> weights_of(shapes.size());
    std::map<std::pair<size_t, PrecisionPair>, std::vector<PackedLayer>> caches_of;
    std::vector<size_t> first_of;  // the first layer of each layer's shape
    int64_t cache_bytes = 0;
    for (size_t layer = 0; layer < shapes.size(); ++layer) {
      const auto first = std::ranges::find(shapes, shapes[layer]);
      first_of.push_back(static_cast<size_t>(first - shapes.begin()));
      cache_bytes += CacheBytesOf(layer, plan.layers[layer], setting);
    }
    for (size_t layer = 0; layer < shapes.size(); ++layer) {
      const size_t first = first_of[layer];
      std::vector<StepWeights>& weights = weights_of[first];
      if (weights.empty()) {
        weights.push_back(WeightsOf(layer));
        const auto bytes =
            static_cast<int64_t>(weights[0].qkv.nbytes() + weights[0].gate_up.nbytes() +
                                 weights[0].down.nbytes() + weights[0].output.nbytes());
        const int64_t layers = std::ranges::count(first_of, first);
        while (static_cast<int64_t>(weights.size()) < DistinctCount(bytes, layers))
          weights.push_back(WeightsOf(layer));
      }
      const auto key = std::pair(first, plan.layers[layer]);
      if (caches_of.contains(key)) continue;
      int64_t layers = 0;
      for (size_t other = layer; other < shapes.size(); ++other)
        layers += first_of[other] == first && plan.layers[other] == plan.layers[layer] ? 1 : 0;
      const int64_t bytes = CacheBytesOf(layer, plan.layers[layer], setting);
      const int64_t count = DistinctCount(bytes, layers);
      RequireFitting(bytes * count, setting);
      caches_of.emplace(key, CachesOf(layer, plan.layers[layer], setting, count));
    }
    std::vector<RotaryTables> angles;
    for (const RopeConfig& rope : config_.ropes) {
      RotaryEmbedding embedding(rope, setting.context_tokens + 1, options_);
      angles.push_back(embedding.Of({setting.context_tokens, setting.context_tokens + 1}, 1));
    }
    const at::Tensor norm = at::ones({config_.hidden_size}, options_);
    const at::Tensor head = RandomWeight(config_.vocab_size, config_.hidden_size);
    const at::Tensor embedded = at::randn({setting.batch, config_.hidden_size}, options_);
    std::vector<double> times = Measure([&] {
      at::Tensor states = embedded.clone();
      std::map<std::pair<size_t, PrecisionPair>, size_t> turn;
      for (size_t layer = 0; layer < shapes.size(); ++layer) {
        const auto key = std::pair(first_of[layer], plan.layers[layer]);
        std::vector<PackedLayer>& caches = caches_of.at(key);
        const std::vector<StepWeights>& weights = weights_of[first_of[layer]];
        const std::optional<size_t> rope = config_.layers[layer].rope;
        StepOfLayer(layer, weights[layer % weights.size()], rope ? angles[*rope] : RotaryTables(),
                    caches[turn[key]++ % caches.size()], states);
      }
      const at::Tensor logits = at::linear(RmsNorm(states, norm, config_.norm_eps), head);
      at::argmax(logits, -1);
    });
    return {TimingOf(std::move(times)), cache_bytes};
  }

  const ModelConfig config_;
  const at::Device device_;
  const at::TensorOptions options_;
  const int64_t free_bytes_;
};

}  // namespace

std::unique_ptr<DecodeTimer> MakeDecodeTimer(const ModelConfig& config, const std::string& device) {
  return WithTorchErrors("looking at the device " + device, [&] {
    return std::make_unique<TorchDecodeTimer>(config, ResolveDevice(device));
  });
}

}  // namespace kvtune
