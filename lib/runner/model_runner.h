// The model runner: a decoder on a device, with a fake-quantized KV cache.
//
// This is the only header that the rest of kvtune sees of libtorch's side, and it is torch-free.
// Everything is teacher-forced and parallel over positions, yet equals token-by-token decoding with
// the quantized cache (docs/algorithm.md, "What a decode step sees").
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/core/cache_maxima.h"
#include "lib/core/model_config.h"
#include "lib/core/precision_plan.h"
#include "lib/io/checkpoint.h"

namespace kvtune {

// kFloat64 is for tests: rounding that moves a value over a quantization step becomes rare enough
// to compare two orders of computation.
enum class DataType { kAuto, kFloat32, kBFloat16, kFloat16, kFloat64 };

// kQuantized: attention during the prompt reads the quantized cache, errors accumulate over layers
// (KVTuner, 5.3). kExact: the first half of every prompt attends exactly and only what it stores is
// quantized; the second half is scored as decoding over that cache.
enum class PrefillMode { kQuantized, kExact };

// kResident: all weights are loaded once. kStream: at most two layers are in memory, and every pass
// reads the checkpoint again. kAuto: resident when the layers leave a third of the device's free
// memory.
enum class WeightMode { kAuto, kResident, kStream };

// What the plans of a population have in common and is computed once; each includes those before
// it. Less than kAttention is for benchmarks, the scores are the same.
enum class Sharing {
  kNothing,
  kReferenceLogits,  // the exact model's logits
  kPrefixes,         // layers up to the first one in which two plans differ
  kAttention,        // the keys, values and attention weights of equal formats over one prefix
};

struct RunnerOptions {
  std::string device = "auto";           // "auto", "cpu", "cuda", "cuda:N"
  DataType data_type = DataType::kAuto;  // float32 on a CPU, bfloat16 on CUDA
  int threads = 0;                       // 0: OMP_NUM_THREADS, or all cores where it is unset
  PrefillMode prefill = PrefillMode::kQuantized;
  WeightMode weights = WeightMode::kAuto;
  // Hidden states to have in memory at a time. Streamed weights need those of all prompts under all
  // plans; what exceeds this waits in a temporary file. One prompt's own have to fit, twice. 0: a
  // quarter of the memory that is free once the weights are loaded.
  int64_t max_activation_bytes = 0;
  Sharing sharing = Sharing::kAttention;
};

using TokenIds = std::vector<int32_t>;

// Sums over elements from which one layer's errors are made; additive over prompts.
struct HeadErrorSums {
  double k_error = 0, k_total = 0, v_error = 0, v_total = 0, o_error = 0, o_total = 0;
  double a_error = 0;
  // Sums and counts of the element-wise ratios |x-x^| / |x| over elements x != 0.
  double k_ratio = 0, v_ratio = 0, o_ratio = 0;
  double k_count = 0, v_count = 0, o_count = 0, a_count = 0;

  HeadErrorSums& operator+=(const HeadErrorSums& other);
};

struct PairErrorSums {
  std::vector<HeadErrorSums> kv_heads;
  std::vector<double> key_channel_error;  // per key channel of all KV heads: sum |K-K^|
};

struct LayerObservation {
  std::vector<PairErrorSums> pairs;       // in the order that was asked for
  std::vector<double> concentration_sum;  // per query head: sum over queries of the largest weight
  double concentration_count = 0;         // queries
  std::vector<double> key_channel_max;    // per key channel of all KV heads: max |K|
  std::vector<double> key_channel_total;  // the same: sum |K|
  LayerMaxima maxima;                     // what calibrated scales are made from
  double key_bias_norm = 0;               // L2 norm of the layer's key bias, 0 without one
};

// What the exact model computes in one layer, row-major.
struct LayerStates {
  std::vector<float> keys;    // [kv_heads, tokens, key_head_dim], normed and rotated as cached
  std::vector<float> values;  // [kv_heads, tokens, value_head_dim]
  std::vector<float>
      attention;  // [tokens, query_heads, value_head_dim], before the output projection
};

// One plan on one prompt.
struct PromptLosses {
  std::vector<float> token_kl;  // nats, one per scored position
  double nll_sum = 0;
  int64_t top1_matches = 0;
};

// What the exact model's pass over one prompt leaves: all that scoring plans needs of it.
struct ExactPass {
  std::vector<std::byte>
      hidden;          // [tokens, hidden_size] after the final norm, in the runner's data type
  int64_t scored = 0;  // positions
  double nll_sum = 0;
  int64_t top1_matches = 0;

  friend bool operator==(const ExactPass&, const ExactPass&) = default;
};

class ModelRunner {
 public:
  // Loads the weights to the device. Throws Error: unknown or absent device, missing or misshapen
  // tensor, NaN or infinite weights; for streamed layers, the first pass does.
  // REQUIRES: checkpoint outlives the runner.
  ModelRunner(const Checkpoint& checkpoint, const RunnerOptions& options);
  ~ModelRunner();
  ModelRunner(const ModelRunner&) = delete;
  ModelRunner& operator=(const ModelRunner&) = delete;

  const ModelConfig& config() const;
  std::string device_name() const;     // "cpu", "cuda:0"
  std::string data_type_name() const;  // "float32", ...
  bool streams_weights() const;

  // For formats with calibrated scales: one entry a layer, from ObserveAttention with any pairs or
  // none. Scoring or observing such a format before is an Error.
  void SetCacheMaxima(std::vector<LayerMaxima> maxima);

  // Called with the number of prompts finished since the last call, one call at a time.
  using ProgressCallback = std::function<void(int64_t prompts)>;

  // One exact pass over the prompts; every layer's attention is repeated with each pair.
  // Returns one observation a layer. REQUIRES: no empty prompt.
  std::vector<LayerObservation> ObserveAttention(std::span<const TokenIds> prompts,
                                                 std::span<const PrecisionPair> pairs,
                                                 const ProgressCallback& progress);

  // Scores every plan on every prompt against the exact model, [plan][prompt]. The exact plan is
  // compared with itself and loses exactly 0.
  // REQUIRES: no prompt under two tokens; plans of config().layer_count() layers.
  std::vector<std::vector<PromptLosses>> ScorePlans(std::span<const PrecisionPlan> plans,
                                                    std::span<const TokenIds> prompts,
                                                    const ProgressCallback& progress);

  // The exact passes over these prompts, run where that was not done yet; and the way back, which
  // spares a later runner of the same model, device and data type the pass. Throws Error when a
  // pass has not the prompt's size. REQUIRES: as many passes as prompts.
  std::vector<ExactPass> ExactPasses(std::span<const TokenIds> prompts);
  void RestoreExactPasses(std::span<const TokenIds> prompts, std::span<const ExactPass> passes);

  // Mean KL, in nats per token, of the exact model against itself with every layer's attention
  // output off by one rounding step: what rounding alone does to a score in this data type. The
  // least that a plan of the model can lose, and so scores closer than this are ties.
  double NoiseFloor(std::span<const TokenIds> prompts);

  // Logits of all positions under a plan, row-major [tokens, vocab_size].
  std::vector<float> Logits(const TokenIds& prompt, const PrecisionPlan& plan);
  // One entry a layer, of the exact model.
  std::vector<LayerStates> ExactStates(const TokenIds& prompt);
  // Logits by token-by-token decoding with a cache that stores quantized values: slow, and the
  // truth that Logits is tested against. REQUIRES: !streams_weights().
  std::vector<float> LogitsByDecoding(const TokenIds& prompt, const PrecisionPlan& plan);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvtune
