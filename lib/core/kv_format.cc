#include "lib/core/kv_format.h"

#include <fmt/format.h>

#include <array>

namespace kvtune {
namespace {

using Id = KvFormatId;
using N = Numerics;

constexpr QuantLayout Channels(int group_size, Rotation rotation = {}) {
  return {QuantAxis::kPerToken, group_size, rotation};
}

constexpr QuantLayout kRow = Channels(0);
constexpr QuantLayout kSignedRow = Channels(0, {RotationKind::kSignedHadamard});
constexpr QuantLayout kRotatedRow = Channels(0, {RotationKind::kHadamard});
constexpr QuantLayout kTokens32{QuantAxis::kPerChannel, 32};
constexpr QuantLayout kChannels16 = Channels(16);
constexpr QuantLayout kChannels32 = Channels(32);
constexpr QuantLayout kChannels64 = Channels(64);
constexpr QuantLayout kRotated32 = Channels(32, {RotationKind::kHadamard, 32, 32});
constexpr QuantLayout kTensor{QuantAxis::kPerTensor, 0};
// llama.cpp rotates as much of a key as a power of two allows, and values in blocks of 64 channels.
constexpr QuantLayout kLlamaKey = Channels(32, {RotationKind::kHadamard, 0, 64});
constexpr QuantLayout kLlamaValue = Channels(32, {RotationKind::kHadamard, 64, 64});

constexpr int kE8m0 = 8, kE4m3 = 8, kHalf = 16, kTwoHalves = 32, kFloat = 32;
constexpr int kKiviWindow = 32, kTransformersWindow = 128;

constexpr KvFormat Kvtuner(Id id, std::string_view name, std::string_view label, int bits) {
  return {id, name, label, bits, N::kKvtunerAsymmetric, kRow, kRow, kTwoHalves};
}
constexpr KvFormat Kivi(Id id, std::string_view name, std::string_view label, int bits) {
  return {id,        name,        label,      bits,       N::kKvtunerAsymmetric,
          kTokens32, kChannels32, kTwoHalves, kKiviWindow};
}
constexpr KvFormat Static(Id id, std::string_view name, N numerics, const QuantLayout& layout,
                          ScaleKind scale) {
  return {id, name, name, 8, numerics, layout, layout, 0, 0, scale};
}
constexpr KvFormat Row(Id id, std::string_view name, int bits, N numerics,
                       const QuantLayout& layout) {
  return {id, name, name, bits, numerics, layout, layout, kFloat};
}
constexpr KvFormat Block(Id id, std::string_view name, N numerics, const QuantLayout& layout,
                         int metadata_bits, ScaleKind scale = ScaleKind::kOfRow) {
  return {id, name, name, 4, numerics, layout, layout, metadata_bits, 0, scale};
}
// llama.cpp and its descendants cache keys with their channels in the order of the model's GGUF
// file.
constexpr KvFormat Ggml(KvFormat format) {
  format.key_channels = ChannelOrder::kOfGguf;
  return format;
}
constexpr KvFormat Llama(Id id, std::string_view name, int bits, N numerics, int metadata_bits) {
  return Ggml({id, name, name, bits, numerics, kLlamaKey, kLlamaValue, metadata_bits});
}
constexpr KvFormat Ik(Id id, std::string_view name, int bits, N numerics, int metadata_bits,
                      const QuantLayout& layout = kChannels32) {
  return Ggml({id, name, name.substr(3), bits, numerics, layout, layout, metadata_bits});
}
constexpr KvFormat Mlx(Id id, std::string_view name, std::string_view label, int bits) {
  return {id, name, label, bits, N::kMlxAffine, kChannels64, kChannels64, kTwoHalves};
}
constexpr KvFormat Transformers(Id id, std::string_view name, std::string_view label, int bits,
                                N numerics) {
  return {
      id, name, label, bits, numerics, kChannels64, kChannels64, kTwoHalves, kTransformersWindow};
}
constexpr KvFormat Exllama(Id id, std::string_view name, std::string_view label, int bits) {
  return {id, name, label, bits, N::kExllama, kRotated32, kRotated32, kHalf};
}

// The table is indexed by KvFormatId.
constexpr std::array kFormats = std::to_array<KvFormat>({
    {Id::kExact, "exact", "16"},

    // KVTuner: its own per-token cache, and the KIVI cache.
    Kvtuner(Id::kInt8, "int8", "8", 8),
    Kvtuner(Id::kInt4, "int4", "4", 4),
    Kvtuner(Id::kInt2, "int2", "2", 2),
    Kivi(Id::kKiviInt8, "kivi_int8", "8", 8),
    Kivi(Id::kKiviInt4, "kivi_int4", "4", 4),
    Kivi(Id::kKiviInt2, "kivi_int2", "2", 2),

    // FP8 caches of vLLM, TensorRT-LLM, SGLang, LMDeploy and checkpoints of ModelOpt.
    Static(Id::kFp8E4m3, "fp8_e4m3", N::kFp8E4m3, kTensor, ScaleKind::kUnit),
    Static(Id::kFp8E4m3Calibrated, "fp8_e4m3_calibrated", N::kFp8E4m3, kTensor,
           ScaleKind::kCalibrated),
    Static(Id::kFp8E5m2, "fp8_e5m2", N::kFp8E5m2, kTensor, ScaleKind::kUnit),
    Row(Id::kFp8PerTokenHead, "fp8_per_token_head", 8, N::kVllmFp8, kRow),
    Row(Id::kInt8PerTokenHead, "int8_per_token_head", 8, N::kVllmInt8, kRow),
    Row(Id::kInt4PerTokenHead, "int4_per_token_head", 4, N::kVllmInt4, kSignedRow),
    // TurboQuant: a key row stores its norm, a value row its scale and its minimum, all in half
    // precision. Each of these formats is for one side only.
    {Id::kTurboquantKey4, "tq_k4", "tq_k4", 4, N::kTurboquantKey, kRotatedRow, kRotatedRow, kHalf},
    {Id::kTurboquantKey3, "tq_k3", "tq_k3", 3, N::kTurboquantKey, kRotatedRow, kRotatedRow, kHalf},
    {Id::kTurboquantValue4, "tq_v4", "tq_v4", 4, N::kTurboquantValue, kRow, kRow, kTwoHalves},
    {Id::kTurboquantValue3, "tq_v3", "tq_v3", 3, N::kTurboquantValue, kRow, kRow, kTwoHalves},
    Block(Id::kNvfp4, "nvfp4", N::kNvfp4, kChannels16, kE4m3, ScaleKind::kUnit),
    Block(Id::kNvfp4Calibrated, "nvfp4_calibrated", N::kNvfp4, kChannels16, kE4m3,
          ScaleKind::kCalibrated),
    Block(Id::kMxfp4, "mxfp4", N::kMxfp4, kChannels32, kE8m0),
    Block(Id::kSglangFp4, "fp4_e2m1", N::kSglangFp4, kChannels16, kE8m0),
    {Id::kLmdeployInt8, "lmdeploy_int8", "8", 8, N::kLmdeploy, kRow, kRow, kTwoHalves},
    {Id::kLmdeployInt4, "lmdeploy_int4", "4", 4, N::kLmdeploy, kRow, kRow, kTwoHalves},

    // llama.cpp, which rotates heads whose size is a multiple of 64 channels.
    Llama(Id::kQ8_0, "q8_0", 8, N::kGgmlQ8_0, kHalf),
    Llama(Id::kQ5_1, "q5_1", 5, N::kGgmlQ5_1, kTwoHalves),
    Llama(Id::kQ5_0, "q5_0", 5, N::kGgmlQ5_0, kHalf),
    Llama(Id::kQ4_1, "q4_1", 4, N::kGgmlQ4_1, kTwoHalves),
    Llama(Id::kQ4_0, "q4_0", 4, N::kGgmlQ4_0, kHalf),
    Llama(Id::kIq4Nl, "iq4_nl", 4, N::kGgmlIq4Nl, kHalf),

    // ik_llama.cpp: the plain formats (those of llama.cpp with its rotation switched off), and
    // those with -khad or -vhad.
    Ik(Id::kIkQ8_0, "ik_q8_0", 8, N::kGgmlQ8_0, kHalf),
    Ik(Id::kIkQ6_0, "ik_q6_0", 6, N::kGgmlQ6_0, kHalf),
    Ik(Id::kIkQ5_1, "ik_q5_1", 5, N::kGgmlQ5_1, kTwoHalves),
    Ik(Id::kIkQ5_0, "ik_q5_0", 5, N::kGgmlQ5_0, kHalf),
    Ik(Id::kIkQ4_1, "ik_q4_1", 4, N::kGgmlQ4_1, kTwoHalves),
    Ik(Id::kIkQ4_0, "ik_q4_0", 4, N::kGgmlQ4_0, kHalf),
    Ik(Id::kIkIq4Nl, "ik_iq4_nl", 4, N::kGgmlIq4Nl, kHalf),
    Ik(Id::kIkQ8_0Had, "ik_q8_0_had", 8, N::kGgmlQ8_0, kHalf, kLlamaKey),
    Ik(Id::kIkQ6_0Had, "ik_q6_0_had", 6, N::kGgmlQ6_0, kHalf, kLlamaKey),
    Ik(Id::kIkQ5_1Had, "ik_q5_1_had", 5, N::kGgmlQ5_1, kTwoHalves, kLlamaKey),
    Ik(Id::kIkQ5_0Had, "ik_q5_0_had", 5, N::kGgmlQ5_0, kHalf, kLlamaKey),
    Ik(Id::kIkQ4_1Had, "ik_q4_1_had", 4, N::kGgmlQ4_1, kTwoHalves, kLlamaKey),
    Ik(Id::kIkQ4_0Had, "ik_q4_0_had", 4, N::kGgmlQ4_0, kHalf, kLlamaKey),
    Ik(Id::kIkIq4NlHad, "ik_iq4_nl_had", 4, N::kGgmlIq4Nl, kHalf, kLlamaKey),

    // MLX: affine quantization in groups of 64 channels.
    Mlx(Id::kMlxInt8, "mlx_int8", "8", 8),
    Mlx(Id::kMlxInt6, "mlx_int6", "6", 6),
    Mlx(Id::kMlxInt5, "mlx_int5", "5", 5),
    Mlx(Id::kMlxInt4, "mlx_int4", "4", 4),
    Mlx(Id::kMlxInt3, "mlx_int3", "3", 3),
    Mlx(Id::kMlxInt2, "mlx_int2", "2", 2),

    // The quantized cache layers of transformers: HQQ with axis 1 and quanto with axis 0.
    Transformers(Id::kHqqInt8, "hqq_int8", "8", 8, N::kHqq),
    Transformers(Id::kHqqInt4, "hqq_int4", "4", 4, N::kHqq),
    Transformers(Id::kHqqInt2, "hqq_int2", "2", 2, N::kHqq),
    Transformers(Id::kQuantoInt4, "quanto_int4", "4", 4, N::kQuanto),
    Transformers(Id::kQuantoInt2, "quanto_int2", "2", 2, N::kQuanto),

    // exllamav3.
    Exllama(Id::kExllamaInt8, "exl3_int8", "8", 8),
    Exllama(Id::kExllamaInt7, "exl3_int7", "7", 7),
    Exllama(Id::kExllamaInt6, "exl3_int6", "6", 6),
    Exllama(Id::kExllamaInt5, "exl3_int5", "5", 5),
    Exllama(Id::kExllamaInt4, "exl3_int4", "4", 4),
    Exllama(Id::kExllamaInt3, "exl3_int3", "3", 3),
    Exllama(Id::kExllamaInt2, "exl3_int2", "2", 2),
});

constexpr bool TableIsInOrder() {
  for (size_t i = 0; i < kFormats.size(); ++i) {
    if (static_cast<size_t>(kFormats[i].id) != i) return false;
  }
  return true;
}
static_assert(TableIsInOrder());

}  // namespace

std::span<const KvFormat> Formats() { return kFormats; }

const KvFormat& FormatOf(KvFormatId id) { return kFormats[static_cast<size_t>(id)]; }

std::optional<KvFormatId> FindFormat(std::string_view name) {
  for (const KvFormat& format : kFormats) {
    if (format.name == name) return format.id;
  }
  return std::nullopt;
}

std::string FormatNames() {
  std::string names;
  for (const KvFormat& format : kFormats) {
    if (!names.empty()) names += ", ";
    names += format.name;
  }
  return names;
}

int64_t RotationBlock(const QuantLayout& layout, int64_t head_dim) {
  const Rotation& rotation = layout.rotation;
  if (rotation.kind == RotationKind::kNone || head_dim % rotation.head_dim_multiple != 0) return 0;
  return rotation.block == 0 ? head_dim & -head_dim : rotation.block;
}

float CalibratedScale(const KvFormat& format, float largest) {
  if (!(largest > 0)) return 1;
  switch (format.numerics) {
    case Numerics::kFp8E5m2:
      return largest / 57344.0f;
    // The largest number of NVFP4 is the largest E2M1 number times the largest E4M3 scale.
    case Numerics::kNvfp4:
      return largest / (6.0f * 448.0f);
    default:
      return largest / 448.0f;
  }
}

double EffectiveBits(const KvFormat& format, KvSide side, int64_t head_dim) {
  const QuantLayout& layout = format.layout(side);
  double rows_per_element = 0;
  if (layout.axis == QuantAxis::kPerChannel) {
    rows_per_element = 1.0 / layout.group_size;
  } else if (layout.axis == QuantAxis::kPerToken) {
    const int64_t group = layout.group_size == 0 ? head_dim : layout.group_size;
    const int64_t rows_per_token = (head_dim + group - 1) / group;
    rows_per_element = static_cast<double>(rows_per_token) / static_cast<double>(head_dim);
  }
  return format.bits + format.metadata_bits_per_row * rows_per_element;
}

}  // namespace kvtune
