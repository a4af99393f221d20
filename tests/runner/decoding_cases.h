// Tiny models with plans of every kind of cache layout, for tests that compare two ways of
// decoding.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "lib/runner/model_probe.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {

inline constexpr ProbeOptions kFloat64{.arithmetic = ProbeArithmetic::kFloat64};
inline constexpr PrecisionPair kInt8Pair{KvFormatId::kInt8, KvFormatId::kInt8};
inline constexpr PrecisionPair kInt4Pair{KvFormatId::kInt4, KvFormatId::kInt4};
inline constexpr PrecisionPair kInt2Pair{KvFormatId::kInt2, KvFormatId::kInt2};

inline TokenIds RandomPrompt(int64_t tokens, int64_t vocab, uint64_t seed) {
  Random random(seed);
  TokenIds ids;
  for (int64_t i = 0; i < tokens; ++i)
    ids.push_back(static_cast<int32_t>(random.Below(static_cast<uint64_t>(vocab))));
  return ids;
}

// A tiny checkpoint on disk and runners over it.
class Tiny {
 public:
  explicit Tiny(const TinyModel& model = {}) {
    WriteTinyCheckpoint(model, directory_.path());
    checkpoint_.emplace(directory_.path());
  }

  std::unique_ptr<ModelProbe> Runner(PrefillMode prefill = PrefillMode::kQuantized,
                                     const ProbeOptions& probe = {}) const {
    return Runner(ModelOptions{.prefill = prefill}, probe);
  }
  std::unique_ptr<ModelProbe> Runner(ModelOptions options, const ProbeOptions& probe = {}) const {
    options.device = "cpu";
    return std::make_unique<ModelProbe>(*checkpoint_, options, probe);
  }

 private:
  TemporaryDirectory directory_;
  std::optional<Checkpoint> checkpoint_;
};

struct DecodingCase {
  std::string name;
  TinyModel model;
  PrecisionPlan plan;
  PrefillMode prefill = PrefillMode::kQuantized;

  friend void PrintTo(const DecodingCase& test_case, std::ostream* out) { *out << test_case.name; }
};

inline std::vector<DecodingCase> DecodingCases() {
  using enum KvFormatId;
  const TinyModel llama;
  TinyModel qwen;
  qwen.architecture = "Qwen2ForCausalLM";
  qwen.kv_heads = 1;
  qwen.tied = false;
  TinyModel wide;  // a head that engines rotate
  wide.head_dim = 64;
  TinyModel ragged;  // a head that 32 channels do not divide
  ragged.head_dim = 40;
  TinyModel window =
      llama;  // shorter than a residual window's group, and not a multiple of anything
  window.architecture = "MistralForCausalLM";
  window.window = 19;
  TinyModel long_window = window;
  long_window.window = 45;
  TinyModel caps = llama;
  caps.architecture = "Gemma2ForCausalLM";
  caps.window = 19;
  TinyModel sinks = llama;
  sinks.architecture = "GptOssForCausalLM";
  sinks.window = 45;
  const PrecisionPlan per_token{{kInt8Pair, {kInt4, kInt2}, {kInt4, kInt8}}};
  const PrecisionPlan kivi{{{kKiviInt4, kKiviInt4}, {kKiviInt8, kKiviInt2}, {kKiviInt4, kInt8}}};
  return {
      {"Exact", llama, {{kExactPair, kExactPair, kExactPair}}},
      {"PerToken", llama, {{kInt8Pair, {kInt4, kInt2}, {kInt4, kInt8}}}},
      {"PerTokenQwen2", qwen, {{kInt4Pair, kInt8Pair, kInt4Pair}}},
      {"Kivi", llama, {{{kKiviInt4, kKiviInt4}, {kKiviInt8, kKiviInt2}, {kKiviInt4, kKiviInt8}}}},
      {"KiviRaggedHead",
       ragged,
       {{{kKiviInt8, kKiviInt4}, {kKiviInt4, kKiviInt4}, {kKiviInt8, kKiviInt8}}}},
      {"WindowOnOneSideOnly",
       llama,
       {{{kKiviInt4, kInt4}, {kInt4, kKiviInt4}, {kExact, kKiviInt2}}}},
      {"Rotated", wide, {{{kQ8_0, kQ4_0}, {kQ5_1, kIq4Nl}, {kIkQ6_0Had, kIkQ4_0Had}}}},
      {"SignedRotation",
       wide,
       {{{kInt4PerTokenHead, kInt4PerTokenHead}, {kExllamaInt4, kExllamaInt3}, kExactPair}}},
      {"Turboquant",
       wide,
       {{{kTurboquantKey4, kTurboquantValue4},
         {kFp8E4m3, kTurboquantValue4},
         {kTurboquantKey3, kTurboquantValue3}}}},
      {"StaticScale", llama, {{{kFp8E4m3, kFp8E4m3}, {kFp8E5m2, kNvfp4}, {kExact, kFp8E4m3}}}},
      {"CalibratedScale",
       llama,
       {{{kFp8E4m3Calibrated, kNvfp4Calibrated},
         {kNvfp4Calibrated, kFp8E4m3Calibrated},
         kExactPair}}},
      {"BlocksOfAToken",
       wide,
       {{{kNvfp4, kMxfp4}, {kSglangFp4, kLmdeployInt4}, {kMlxInt4, kIkQ4_0}}}},
      {"LongWindow",
       llama,
       {{{kQuantoInt4, kQuantoInt2}, {kQuantoInt2, kInt4}, {kKiviInt4, kQuantoInt4}}}},
      {"ExactPrefill", llama, {{kInt4Pair, kInt8Pair, kInt4Pair}}, PrefillMode::kExact},
      {"ExactPrefillKivi",
       qwen,
       {{{kKiviInt4, kKiviInt4}, {kKiviInt8, kInt4}, kInt4Pair}},
       PrefillMode::kExact},
      {"WindowExact", window, {{kExactPair, kExactPair, kExactPair}}},
      {"WindowPerToken", window, per_token},
      {"WindowKivi", window, kivi},
      {"LongWindowKivi", long_window, kivi},
      {"WindowExactPrefillKivi", window, kivi, PrefillMode::kExact},
      {"LongWindowExactPrefill", long_window, per_token, PrefillMode::kExact},
      {"SoftCapsPerToken", caps, per_token},
      {"SoftCapsKivi", caps, kivi},
      {"SinksPerToken", sinks, per_token},
      {"SinksKivi", sinks, kivi},
  };
}

// Takes the maxima that formats with calibrated scales need from this prompt.
inline void LearnMaxima(ModelRunner& runner, const TokenIds& prompt) {
  std::vector<LayerMaxima> maxima;
  for (const LayerObservation& layer :
       runner.ObserveAttention(std::span(&prompt, 1), {}, nullptr)) {
    maxima.push_back(layer.maxima);
  }
  runner.SetCacheMaxima(std::move(maxima));
}

}  // namespace kvtune
