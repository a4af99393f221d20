// The storage formats of keys and values, described as data in one table.
//
// A KvFormat says how one side (keys or values) of a layer's cache is stored: by which arithmetic,
// in how many bits, which elements share a scale, whether each head is rotated first, and how many
// of the newest tokens stay exact. Every row of the table is a format of a real engine, which
// kv_format.cc names. The kernels read the row, so a new format whose arithmetic is already known
// needs a new row and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace kvtune {

// Says which elements form a row, which is the unit that has one scale (and one zero).
enum class QuantAxis : uint8_t {
  kPerToken,    // neighbouring channels of one token of one KV head
  kPerChannel,  // neighbouring tokens of one channel of one KV head
  kPerTensor,   // everything that one side of a layer will ever store, with a static scale
};

// An orthogonal rotation that is applied to each head before quantization. The engine rotates the
// queries (or the attention output) to match, so the rotation changes nothing but the quantization
// error.
enum class RotationKind : uint8_t {
  kNone,
  kHadamard,        // Walsh-Hadamard / sqrt(block), natural (Sylvester) order
  kSignedHadamard,  // vLLM: channels times a fixed sequence of signs, then Walsh-Hadamard
};

struct Rotation {
  RotationKind kind = RotationKind::kNone;
  // The number of channels that are rotated together. 0 stands for the largest power of two that
  // divides head_dim.
  int block = 0;
  // The engine omits the rotation when head_dim is not a multiple of this number.
  int head_dim_multiple = 1;

  friend bool operator==(const Rotation&, const Rotation&) = default;
};

struct QuantLayout {
  QuantAxis axis = QuantAxis::kPerToken;
  // The number of elements in a row. 0 stands for all of head_dim (kPerToken), or for everything
  // that the axis names (static scales). The last row of a token may be shorter. Rows along tokens
  // (kPerChannel) are always full: the tokens that do not fill a row wait in the residual window.
  int group_size = 0;
  Rotation rotation = {};

  friend bool operator==(const QuantLayout&, const QuantLayout&) = default;
};

// The arithmetic of a format. lib/kernels/row_quantizers.h has the formulas and their sources.
enum class Numerics : uint8_t {
  kExact,
  kKvtunerAsymmetric,
  kKvtunerSymmetric,
  kVllmInt8,
  kVllmInt4,
  kVllmFp8,  // a cast with one scale for each token and head
  kTurboquantKey,
  kTurboquantValue,
  kFp8E4m3,  // a cast with a static scale
  kFp8E5m2,  // a cast with a static scale
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

// Says where the scale of a row comes from.
enum class ScaleKind : uint8_t {
  kOfRow,  // computed from the row itself and stored with it
  kUnit,   // 1, the engine's default when no calibrated scale is given
  // Computed from the largest magnitude on the calibration prompts, for each layer and side.
  kCalibrated,
};

// The order of the channels of a stored key. It matters because neighbouring channels share a
// block, so the order decides which channels share a scale.
enum class ChannelOrder : uint8_t {
  kOfCheckpoint,
  kOfGguf,  // the order of the model's GGUF file; see Family::gguf_rotary_neighbours
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
  // The name in plan files, for example "int4". It is unique over all targets.
  std::string_view name;
  // The format's part of a pair label: a number ("4" of KV4) when the formats of a target differ in
  // nothing but their width, otherwise the engine's own word for the format ("q4_0").
  std::string_view label;
  int bits = 16;  // nominal bits per element
  Numerics numerics = Numerics::kExact;
  QuantLayout key_layout = {};
  QuantLayout value_layout = {};
  // The bits of scale and zero as they are stored with each row. A static scale counts as 0 bits.
  int metadata_bits_per_row = 0;
  int residual_window_tokens = 0;  // the newest tokens that stay exact
  ScaleKind scale = ScaleKind::kOfRow;
  ChannelOrder key_channels = ChannelOrder::kOfCheckpoint;

  bool is_exact() const { return id == KvFormatId::kExact; }
  bool has_numeric_label() const { return label[0] >= '0' && label[0] <= '9'; }
  const QuantLayout& layout(KvSide side) const {
    return side == KvSide::kKey ? key_layout : value_layout;
  }
};

// Returns all formats in the order of KvFormatId. The exact format is the first.
std::span<const KvFormat> Formats();

const KvFormat& FormatOf(KvFormatId id);

// Returns nullopt when no format has this name.
std::optional<KvFormatId> FindFormat(std::string_view name);

// Returns "int8, int4, int2, ..." for messages.
std::string FormatNames();

// Returns how many channels the format rotates together in heads of this size, or 0 when it does
// not rotate them.
int64_t RotationBlock(const QuantLayout& layout, int64_t head_dim);

// Returns the static scale of a format with calibrated scales, where `largest` is the largest
// magnitude on the calibration prompts. The scale maps `largest` to the largest number that the
// format can store. It is 1 when `largest` is 0.
float CalibratedScale(const KvFormat& format, float largest);

// Returns the bits per stored element with scales and zeros, but without the residual window.
// REQUIRES: head_dim > 0.
double EffectiveBits(const KvFormat& format, KvSide side, int64_t head_dim);

}  // namespace kvtune
