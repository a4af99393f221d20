// Where the codes and parameters of a packed cache lie: pages of 64 tokens of one KV head.
//
// A page is four planes, one after the other:
//
//   key codes | value codes | key parameters | value parameters
//
// Each plane begins at a multiple of 16 bytes, and their sizes add up to 64 times the bytes per
// token that CostOf (lib/targets/target.h) prints: a page has no padding. What a sequence takes
// more is the rest of its last page.
//
// Key codes: token after token, the channels of a token in order, the first in the lowest bits.
// Value codes: tokens 2i and 2i + 1 share a row, in which 16 bits of the one and 16 bits of the
// other take turns. Two neighbouring tokens of a channel are what a matrix instruction takes as one
// operand, and a token can be appended without reading its neighbour.
//
// A code of B bits is a level from 0 to 2^B - 1: KVTuner's signed code plus 2^(B-1). It is bits of
// E4M3 for FP8, and of bfloat16 for exact sides. The parameters of a row are its scale and
// KVTuner's zero, each a bfloat16 in this order. Rows per token have theirs in the order of tokens,
// then of groups of channels; rows per channel in the order of groups of tokens, then of channels.
//
// Formats with a residual window keep the newest tokens, those that fill no group, in a window: a
// page without parameters, of as many tokens as a group, in which both sides are exact.
//
// This file is torch-free.
#pragma once

#include <cstdint>
#include <string>

#include "lib/core/kv_format.h"
#include "lib/core/precision_plan.h"
#include "lib/kernels/small_floats.h"

namespace kvtune {

inline constexpr int64_t kPageTokens = 64;
inline constexpr int64_t kPackedGroup = 32;  // tokens or channels of a row of a KIVI format
inline constexpr int64_t kPlaneAlignment = 16;
// The bytes of every page and of every window are a multiple of it.
inline constexpr int64_t kPageUnit = 256;
inline constexpr int64_t kBytesPerParameters = 4;  // a scale and a zero

// How one element is stored.
enum class PackedCode : uint8_t { kInt2, kInt4, kInt8, kFp8, kExact };

// Which elements share a scale and a zero.
enum class PackedRows : uint8_t {
  kNone,        // exact sides and FP8, which have no parameters
  kToken,       // all channels of a token
  kTokenGroup,  // 32 channels of a token
  kChannel,     // 32 tokens of a channel
};

struct PackedSide {
  PackedCode code = PackedCode::kExact;
  PackedRows rows = PackedRows::kNone;

  int bits() const;
  bool has_window() const {
    return rows == PackedRows::kTokenGroup || rows == PackedRows::kChannel;
  }
  friend bool operator==(const PackedSide&, const PackedSide&) = default;
};

// The planes of a page or a window, in bytes from its beginning.
struct PackedPlanes {
  int64_t value_codes = 0;
  int64_t key_parameters = 0;
  int64_t value_parameters = 0;
  int64_t bytes = 0;  // of all planes
};

struct PackedLayout {
  PackedSide key;
  PackedSide value;
  int64_t head_dim = 0;
  // The tokens of a group that is quantized at once; the window holds as many. 0: no window, each
  // token is quantized when it arrives.
  int64_t window_tokens = 0;
  PackedPlanes page;
  PackedPlanes window;

  // How many of the first tokens of a sequence are packed while its newest token attends: a group
  // is quantized once the last of its tokens has attended.
  KVTUNE_HOST_DEVICE int64_t PackedTokens(int64_t tokens) const {
    return window_tokens == 0 || tokens == 0 ? tokens
                                             : (tokens - 1) / window_tokens * window_tokens;
  }
  // The bytes that one head of a sequence takes: pages for all of its tokens, and its window.
  int64_t BytesOf(int64_t tokens) const;
};

// Why a pair cannot be packed for heads of this size; empty when it can. The formats are KVTuner's
// (per token and KIVI), FP8 E4M3 with the scale 1, and exact; a format with a window goes together
// with others of its kind and with exact sides. head_dim is a multiple of 32 up to 128, 192 or 256.
std::string WhyNotPacked(PrecisionPair pair, int64_t head_dim);

// Throws Error with the reason where WhyNotPacked has one.
PackedLayout PackedLayoutOf(PrecisionPair pair, int64_t head_dim);

}  // namespace kvtune
