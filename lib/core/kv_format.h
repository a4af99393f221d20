// The storage formats of keys and values: one table, described as data.
//
// A KvFormat says how one side (keys or values) of a layer's cache is stored: by which arithmetic,
// in how many bits, which elements share a scale, whether the head is rotated first, and how many
// of the newest tokens stay exact. Every row is a format of a real engine (kv_format.cc names
// them); the kernels read the row, so a new format with known arithmetic is a new row and nothing
// else.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kvtune {

// Which elements form a row with one scale (and zero).
enum class QuantAxis : uint8_t {
  kPerToken,    // neighbouring channels of one token of one KV head
  kPerChannel,  // neighbouring tokens of one channel of one KV head
  kPerTensor,   // everything that a layer's side will ever store: a static scale
};

// An orthogonal rotation of each head, before quantization; the engine rotates queries (or the
// attention output) to match, so that only the quantization error changes.
enum class RotationKind : uint8_t {
  kNone,
  kHadamard,        // Walsh-Hadamard / sqrt(block), natural (Sylvester) order
  kSignedHadamard,  // vLLM: channels times a fixed sequence of signs, then Walsh-Hadamard
};

struct Rotation {
  RotationKind kind = RotationKind::kNone;
  // Channels that are rotated together. 0: the largest power of two that divides head_dim.
  int block = 0;
  // The engine leaves the rotation out where head_dim is not a multiple of this.
  int head_dim_multiple = 1;

  friend bool operator==(const Rotation&, const Rotation&) = default;
};

struct QuantLayout {
  QuantAxis axis = QuantAxis::kPerToken;
  // Elements in a row. 0: the whole of head_dim (kPerToken), or what the axis says (static scales).
  // The last row of a token may be shorter; rows along tokens are always full, the rest waits in
  // the residual window.
  int group_size = 0;
  Rotation rotation = {};

  friend bool operator==(const QuantLayout&, const QuantLayout&) = default;
};

// The arithmetic; formulas and sources are in lib/kernels/row_quantizers.h.
enum class Numerics : uint8_t {
  kExact,
  kKvtunerAsymmetric,
  kKvtunerSymmetric,
  kVllmInt8,
  kVllmInt4,
  kVllmFp8,  // of a token and head
  kTurboquantKey,
  kTurboquantValue,  // the same
  kFp8E4m3,
  kFp8E5m2,  // a cast, static scale
  kNvfp4,
  kMxfp4,
  kSglangFp4,
  kLmdeploy,
  kGgmlQ8_0,
  kGgmlQ6_0,
  kGgmlQ5_1,
  kGgmlQ5_0,
  kGgmlQ4_1,
  kGgmlQ4_0,
  kGgmlIq4Nl,
  kMlxAffine,
  kHqq,
  kQuanto,
  kExllama,
};

// Where a row's scale comes from.
enum class ScaleKind : uint8_t {
  kOfRow,       // from the row itself, stored with it
  kUnit,        // 1: the engine's default where no calibrated scale is given
  kCalibrated,  // from the largest magnitude on the calibration prompts, by layer and side
};

// In which order the channels of a stored key follow each other, which decides what a block of
// neighbours holds.
enum class ChannelOrder : uint8_t {
  kOfCheckpoint,
  kOfGguf,  // as in the model's GGUF file: see Family::gguf_rotary_neighbours
};

enum class KvSide { kKey, kValue };

enum class KvFormatId : uint8_t {
  kExact,
  kInt8,
  kInt4,
  kInt2,
  kKiviInt8,
  kKiviInt4,
  kKiviInt2,
  kFp8E4m3,
  kFp8E4m3Calibrated,
  kFp8E5m2,
  kFp8PerTokenHead,
  kInt8PerTokenHead,
  kInt4PerTokenHead,
  kTurboquantKey4,
  kTurboquantKey3,
  kTurboquantValue4,
  kTurboquantValue3,
  kNvfp4,
  kNvfp4Calibrated,
  kMxfp4,
  kSglangFp4,
  kLmdeployInt8,
  kLmdeployInt4,
  kQ8_0,
  kQ5_1,
  kQ5_0,
  kQ4_1,
  kQ4_0,
  kIq4Nl,
  kIkQ8_0,
  kIkQ6_0,
  kIkQ5_1,
  kIkQ5_0,
  kIkQ4_1,
  kIkQ4_0,
  kIkIq4Nl,
  kIkQ8_0Had,
  kIkQ6_0Had,
  kIkQ5_1Had,
  kIkQ5_0Had,
  kIkQ4_1Had,
  kIkQ4_0Had,
  kIkIq4NlHad,
  kMlxInt8,
  kMlxInt6,
  kMlxInt5,
  kMlxInt4,
  kMlxInt3,
  kMlxInt2,
  kHqqInt8,
  kHqqInt4,
  kHqqInt2,
  kQuantoInt4,
  kQuantoInt2,
  kExllamaInt8,
  kExllamaInt7,
  kExllamaInt6,
  kExllamaInt5,
  kExllamaInt4,
  kExllamaInt3,
  kExllamaInt2,
};

struct KvFormat {
  KvFormatId id = KvFormatId::kExact;
  std::string_view name;  // as in plan files, unique over all targets, for example "int4"
  // As in pair labels: a number ("4" of KV4) where a target's formats are one family of widths,
  // else the engine's own word for it ("q4_0").
  std::string_view label;
  int bits = 16;  // nominal bits per element
  Numerics numerics = Numerics::kExact;
  QuantLayout key_layout = {};
  QuantLayout value_layout = {};
  int metadata_bits_per_row = 0;   // scale and zero, as stored; a static scale counts nothing
  int residual_window_tokens = 0;  // the newest tokens that stay exact
  ScaleKind scale = ScaleKind::kOfRow;
  ChannelOrder key_channels = ChannelOrder::kOfCheckpoint;

  bool is_exact() const { return id == KvFormatId::kExact; }
  bool has_numeric_label() const { return label[0] >= '0' && label[0] <= '9'; }
  const QuantLayout& layout(KvSide side) const {
    return side == KvSide::kKey ? key_layout : value_layout;
  }
};

// All formats, in the order of KvFormatId; the exact one first.
std::span<const KvFormat> Formats();

const KvFormat& FormatOf(KvFormatId id);

// nullopt when no format has this name.
std::optional<KvFormatId> FindFormat(std::string_view name);

// "int8, int4, int2, ..." for messages.
std::string FormatNames();

// Channels that the format rotates together in heads of this size; 0: none.
int64_t RotationBlock(const QuantLayout& layout, int64_t head_dim);

// The static scale of a format with calibrated scales where `largest` is the largest magnitude:
// what becomes of `largest` is the largest number that the format stores. 1 where everything is 0.
float CalibratedScale(const KvFormat& format, float largest);

// Bits per stored element including scales and zeros, without the residual window.
// REQUIRES: head_dim > 0.
double EffectiveBits(const KvFormat& format, KvSide side, int64_t head_dim);

}  // namespace kvtune
