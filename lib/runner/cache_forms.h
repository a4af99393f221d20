// In which form each layer of a cache is stored, and how many bytes that takes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/core/precision_plan.h"
#include "lib/runner/decoder.h"

namespace kvtune {

enum class CacheForm {
  kFakeQuantized,  // the values that the engine's cache would give back: every format and device
  kPacked,         // codes and their parameters (lib/kernels/packed_layout.h)
};
using CacheForms = std::vector<CacheForm>;  // by layer

// What a cache of many sequences takes memory for.
struct CacheSize {
  int64_t rows = 0;        // sequences at a time
  int64_t max_tokens = 0;  // of each
  CacheForms forms = {};   // empty: all fake-quantized
  // By stage, for all sequences together: their packed layers.
  std::vector<int64_t> packed_bytes = {};
};

// A layer is packed on CUDA where its elements are bfloat16, its keys and values have heads of one
// size and its pair can be packed under each of the plans (WhyNotPacked). On a CPU values are
// fake-quantized, as its results rest on them bit for bit.
CacheForms FormsFor(const Decoder& decoder, std::span<const PrecisionPlan> plans);
// "32 layers, 30 of them packed", for people.
std::string DescriptionOf(const CacheForms& forms);

// By stage, the bytes of the fake-quantized layers of one sequence of `max_tokens` tokens.
std::vector<int64_t> FakeQuantizedBytes(const Decoder& decoder, const CacheForms& forms,
                                        int64_t max_tokens);
// By stage, the bytes of the packed layers of a sequence of so many tokens.
std::vector<int64_t> PackedBytes(const Decoder& decoder, const CacheForms& forms,
                                 const PrecisionPlan& plan, int64_t tokens);

// The packed layers of a stage, in their order.
std::vector<size_t> PackedLayersOf(const Decoder& decoder, const CacheForms& forms, size_t stage);

}  // namespace kvtune
