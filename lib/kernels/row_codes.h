// What a cache keeps of a row of keys or values: an integer code for each element, and parameters
// of the row. row_quantizers.h computes both and turns them back into values.
//
// A code is the bit pattern that the engine stores for one element, in the low bits of a uint32_t:
// a level counted from 0, an integer in two's complement, or a small float's bits. Codes reach the
// quantizers through an object with
//   uint32_t Get(int64_t i) const;  void Set(int64_t i, uint32_t code) const;
// so that a cache can pack them as it likes. CodesInPlace needs no memory of its own.
#pragma once

#include <cmath>
#include <cstdint>

#include "lib/core/kv_format.h"
#include "lib/kernels/small_floats.h"

namespace kvtune {

// `size` elements, `stride` apart.
struct Row {
  float* data;
  int64_t size;
  int64_t stride;

  KVTUNE_HOST_DEVICE float& operator[](int64_t i) const { return data[i * stride]; }
};

// Each code takes the place of its element: a round trip needs no other memory.
struct CodesInPlace {
  Row row;

  KVTUNE_HOST_DEVICE uint32_t Get(int64_t i) const { return BitsOf(row[i]); }
  KVTUNE_HOST_DEVICE void Set(int64_t i, uint32_t code) const { row[i] = FromBits(code); }
};

// Parameters of a row as they are stored: each number is one that its ParameterType can hold, and
// is 0 where the format stores none.
struct RowParameters {
  float scale = 0;   // for kTurboquantKey the vector's length
  float offset = 0;  // zero, minimum, bias or shift: what the engine adds or subtracts
};

enum class ParameterType : uint8_t {
  kNone,
  kModel,  // the type of the model's activations, which kvtune computes in float32
  kFloat,
  kHalf,
  kE4m3,
  kE8m0,  // a power of two
};

struct ParameterTypes {
  ParameterType scale = ParameterType::kNone;
  ParameterType offset = ParameterType::kNone;
};

constexpr ParameterTypes ParameterTypesOf(Numerics numerics) {
  using enum ParameterType;
  switch (numerics) {
    case Numerics::kExact:
    case Numerics::kFp8E4m3:
    case Numerics::kFp8E5m2:
      return {kNone, kNone};
    case Numerics::kKvtunerSymmetric:
      return {kModel, kNone};
    case Numerics::kKvtunerAsymmetric:
    case Numerics::kMlxAffine:
    case Numerics::kHqq:
    case Numerics::kQuanto:
      return {kModel, kModel};
    case Numerics::kVllmInt8:
    case Numerics::kVllmInt4:  // its zero is in the low bits of the scale
    case Numerics::kVllmFp8:
      return {kFloat, kNone};
    case Numerics::kNvfp4:
      return {kE4m3, kNone};
    case Numerics::kMxfp4:
    case Numerics::kSglangFp4:
      return {kE8m0, kNone};
    case Numerics::kTurboquantKey:
    case Numerics::kGgmlQ8_0:
    case Numerics::kGgmlQ6_0:
    case Numerics::kGgmlQ5_0:
    case Numerics::kGgmlQ4_0:
    case Numerics::kGgmlIq4Nl:
    case Numerics::kExllama:
      return {kHalf, kNone};
    case Numerics::kTurboquantValue:
    case Numerics::kLmdeploy:
    case Numerics::kGgmlQ5_1:
    case Numerics::kGgmlQ4_1:
      return {kHalf, kHalf};
  }
  return {};
}

// The whole part of x as a level 0..highest; not a number counts as 0.
KVTUNE_HOST_DEVICE inline uint32_t LevelCode(float x, float highest) {
  return static_cast<uint32_t>(static_cast<int32_t>(x > 0 ? (x < highest ? x : highest) : 0.0f));
}

// Codes go through int32_t, because only conversions of signed integers are vector instructions on
// every x86-64.
KVTUNE_HOST_DEVICE inline float LevelValue(uint32_t code) {
  return static_cast<float>(static_cast<int32_t>(code));
}

// The whole part of x, held within low..high, in two's complement; not a number counts as low.
// REQUIRES: low and high are whole and fit in `bits`.
KVTUNE_HOST_DEVICE inline uint32_t SignedCode(float x, float low, float high, int bits) {
  const float level = x > low ? (x < high ? x : high) : low;
  return static_cast<uint32_t>(static_cast<int32_t>(level)) & ((1u << bits) - 1);
}

KVTUNE_HOST_DEVICE inline float SignedValue(uint32_t code, int bits) {
  return static_cast<float>(static_cast<int32_t>(code << (32 - bits)) >> (32 - bits));
}

}  // namespace kvtune
