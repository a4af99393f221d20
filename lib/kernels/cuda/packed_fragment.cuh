// How the codes of a packed cache lie in the registers of a lane, how they become operands of the
// matrix instruction m16n8k16, and that instruction. packed_attention.cuh says what for.
#pragma once

#include <cuda_fp8.h>

#include "lib/kernels/cuda/device.cuh"
#include "lib/kernels/packed_layout.h"

namespace kvtune {

__device__ inline uint32_t HalvesOf(float low, float high) {
  return AsBits(__floats2half2_rn(low, high));
}
__device__ inline uint32_t BFloatsOf(float low, float high) {
  return AsBits(__floats2bfloat162_rn(low, high));
}
__device__ inline __half2 AsHalves(uint32_t bits) { return *reinterpret_cast<__half2*>(&bits); }

// Scale and zero of a row.
__device__ inline float ScaleOf(uint32_t parameters) { return __uint_as_float(parameters << 16); }
__device__ inline float ZeroOf(uint32_t parameters) {
  return __uint_as_float(parameters & 0xffff0000u);
}

// How the codes of a side lie in the registers of a lane.
template <PackedCode kTheCode, PackedRows kTheRows, int kTheHeadDim>
struct Fragment {
  static constexpr PackedCode kCode = kTheCode;
  static constexpr PackedRows kRows = kTheRows;
  static constexpr int kHeadDim = kTheHeadDim;
  // The kernel computes with as many channels; those behind the head are 0.
  static constexpr int kPadded = kHeadDim <= 64 ? 64 : kHeadDim <= 128 ? 128 : 256;
  static constexpr int kBits = kCode == PackedCode::kInt2    ? 2
                               : kCode == PackedCode::kInt4  ? 4
                               : kCode == PackedCode::kExact ? 16
                                                             : 8;
  static constexpr bool kIsExact = kCode == PackedCode::kExact;
  // Whether a row has a scale and a zero that belong to a token.
  static constexpr bool kHasTokenRows = kRows == PackedRows::kToken;
  // The zero of a code that counts from 0.
  static constexpr float kZeroShift = static_cast<float>(1 << (kBits - 1));
  // Pairs of codes in a word: code p of its lower half with code p of its upper half.
  static constexpr int kPairs = 16 / kBits;
  // The bytes that a lane reads of a key's row, or of the row of two values.
  static constexpr int kLaneBytes = kPadded * kBits / 32;
  static constexpr int kLoadBytes = kLaneBytes < 16 ? kLaneBytes : 16;
  static constexpr int kLoads = kLaneBytes / kLoadBytes;
  static constexpr int kWordsOfLoad = kLoadBytes / 4;
  static constexpr int kWords = kLaneBytes / 4;

  // Where load `load` of a lane begins in its row; `column` is the lane's place among the `columns`
  // lanes that share the row.
  __device__ static int LoadOffset(int load, int column, int columns) {
    return (load * columns + column) * kLoadBytes;
  }
  // The lower channel of a pair of keys; the other one is kPairs channels behind it.
  __device__ static int KeyChannel(int pair, int column) {
    const int word = pair / kPairs;
    return (LoadOffset(word / kWordsOfLoad, column, 4) + word % kWordsOfLoad * 4) * 8 / kBits +
           pair % kPairs;
  }
  // The channel of a pair of values, whose codes are of two tokens.
  __device__ static int ValueChannel(int pair, int column) {
    const int word = pair / kPairs;
    return (LoadOffset(word / kWordsOfLoad, column, 8) + word % kWordsOfLoad * 4) * 4 / kBits +
           pair % kPairs;
  }

  // Reads the lane's part of a row of kRowBytes, whose own part begins at `at`; what lies behind
  // the row is 0.
  template <int kRowBytes, int kColumns>
  __device__ static void Read(const uint8_t* at, int column, uint32_t (&words)[kWords]) {
#pragma unroll
    for (int load = 0; load < kLoads; ++load) {
      uint32_t* out = words + load * kWordsOfLoad;
      if constexpr (kHeadDim < kPadded) {
#pragma unroll
        for (int i = 0; i < kWordsOfLoad; ++i) out[i] = 0;
        if (LoadOffset(load, column, kColumns) >= kRowBytes) continue;
      }
      ReadOnce(at + LoadOffset(load, 0, kColumns), out);
    }
  }

  // Codes are read once, so they take no place in the first cache.
  __device__ static void ReadOnce(const uint8_t* at, uint32_t* out) {
    if constexpr (kLoadBytes == 16) {
      asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                   : "l"(at));
    } else if constexpr (kLoadBytes == 8) {
      asm volatile("ld.global.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                   : "=r"(out[0]), "=r"(out[1])
                   : "l"(at));
    } else {
      asm volatile("ld.global.L1::no_allocate.u32 %0, [%1];" : "=r"(out[0]) : "l"(at));
    }
  }

  // An integer code becomes half precision by or-ing it into the mantissa of a power of two: the
  // number is the power plus the code. At bit `shift` of the mantissa the code counts whole numbers
  // above 1024 / 2^shift. These offsets are taken out of the sums, where they cost nothing.
  __device__ static constexpr uint32_t MagicOf(int shift) {
    return (0x6400u - 0x0400u * static_cast<uint32_t>(shift)) * 0x00010001u;
  }
  __device__ static uint32_t Insert(uint32_t word, int shift) {
    const uint32_t mask = ((1u << kBits) - 1) * 0x00010001u << shift;
    uint32_t x;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(x) : "r"(word), "r"(mask), "r"(MagicOf(shift)));
    return x;
  }
  __device__ static uint32_t BytePair(uint32_t word, int p) {
    if constexpr (kCode == PackedCode::kFp8) {
      const uint32_t bytes = __byte_perm(word, 0, p == 0 ? 0x4420 : 0x4431);
      const __half2_raw halves =
          __nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(bytes), __NV_E4M3);
      return static_cast<uint32_t>(halves.x) | (static_cast<uint32_t>(halves.y) << 16);
    } else {
      return __byte_perm(word, MagicOf(0), p == 0 ? 0x5250 : 0x5351);
    }
  }

  // A pair of keys for the instruction: of integers the code plus KeyOffset(pair), of FP8 the two
  // values, of exact sides two bfloat16. A score is a short sum, so offsets may be large.
  __device__ static uint32_t KeyPair(const uint32_t (&words)[kWords], int pair) {
    const uint32_t word = words[pair / kPairs];
    const int p = pair % kPairs;
    if constexpr (kIsExact) {
      return word;
    } else if constexpr (kBits == 8) {
      return BytePair(word, p);
    } else {
      return Insert(p < kPairs / 2 ? word : word >> 8, p % (kPairs / 2) * kBits);
    }
  }
  __device__ static constexpr float KeyOffset(int pair) {
    if constexpr (kRows == PackedRows::kNone) {
      return 0;
    } else if constexpr (kBits == 8) {
      return 1024;
    } else {
      return static_cast<float>(1024 >> (pair % (kPairs / 2) * kBits));
    }
  }

  // The same for a pair of values. Values are summed over all tokens, so the codes of 2 and 4 bits
  // move to the upper half of a byte first, where the offset is 64 or 16.
  __device__ static uint32_t ValuePair(const uint32_t (&words)[kWords], int pair) {
    const uint32_t word = words[pair / kPairs];
    const int p = pair % kPairs;
    if constexpr (kIsExact) {
      return word;
    } else if constexpr (kBits == 8) {
      return BytePair(word, p);
    } else {
      const int nibble = p * kBits / 4;  // of the lower 16 bits
      const uint32_t moved = nibble == 0   ? word << 4
                             : nibble == 1 ? word
                             : nibble == 2 ? word >> 4
                                           : word >> 8;
      return Insert(moved, 4 + p * kBits % 4);
    }
  }
  __device__ static constexpr float ValueOffset(int pair) {
    if (kRows == PackedRows::kNone) return 0;
    return kBits == 8 ? 1024.0f : static_cast<float>(64 >> (pair % kPairs * kBits % 4));
  }
};

// c += a b for a of 16 x 16, b of 16 x 8.
template <bool kBFloat16>
__device__ inline void MultiplyAdd(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                   uint32_t a3, uint32_t b0, uint32_t b1) {
  if constexpr (kBFloat16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
}

// Turns an 8 x 8 matrix of 16-bit numbers over, of which each lane has two neighbours of a row.
__device__ inline uint32_t Transposed(uint32_t pair) {
  uint32_t turned;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(turned) : "r"(pair));
  return turned;
}

}  // namespace kvtune
