#include "lib/kernels/packed_layout.h"

#include <optional>

#include "lib/base/error.h"

namespace kvtune {
namespace {

std::optional<PackedCode> CodeOfBits(int bits) {
  switch (bits) {
    case 2:
      return PackedCode::kInt2;
    case 4:
      return PackedCode::kInt4;
    case 8:
      return PackedCode::kInt8;
    default:
      return std::nullopt;
  }
}

// nullopt where the format cannot be packed.
std::optional<PackedSide> SideOf(KvFormatId id, KvSide side) {
  const KvFormat& format = FormatOf(id);
  if (format.is_exact()) return PackedSide{};
  if (id == KvFormatId::kFp8E4m3) return PackedSide{PackedCode::kFp8, PackedRows::kNone};
  const std::optional<PackedCode> code = CodeOfBits(format.bits);
  if (format.numerics != Numerics::kKvtunerAsymmetric || !code) return std::nullopt;
  const QuantLayout& layout = format.layout(side);
  if (layout.axis == QuantAxis::kPerChannel) return PackedSide{*code, PackedRows::kChannel};
  return PackedSide{*code, layout.group_size == 0 ? PackedRows::kToken : PackedRows::kTokenGroup};
}

int64_t CodeBytes(PackedSide side, int64_t tokens, int64_t head_dim) {
  return tokens * head_dim * side.bits() / 8;
}

int64_t ParameterBytes(PackedSide side, int64_t tokens, int64_t head_dim) {
  switch (side.rows) {
    case PackedRows::kNone:
      return 0;
    case PackedRows::kToken:
      return tokens * kBytesPerParameters;
    case PackedRows::kTokenGroup:
    case PackedRows::kChannel:
      return tokens * head_dim / kPackedGroup * kBytesPerParameters;
  }
  return 0;
}

PackedPlanes PlanesOf(PackedSide key, PackedSide value, int64_t tokens, int64_t head_dim) {
  PackedPlanes planes;
  planes.value_codes = CodeBytes(key, tokens, head_dim);
  planes.key_parameters = planes.value_codes + CodeBytes(value, tokens, head_dim);
  planes.value_parameters = planes.key_parameters + ParameterBytes(key, tokens, head_dim);
  planes.bytes = planes.value_parameters + ParameterBytes(value, tokens, head_dim);
  return planes;
}

bool IsHeadDim(int64_t head_dim) {
  return head_dim > 0 &&
         (head_dim <= 128 ? head_dim % 32 == 0 : head_dim == 192 || head_dim == 256);
}

}  // namespace

int PackedSide::bits() const {
  switch (code) {
    case PackedCode::kInt2:
      return 2;
    case PackedCode::kInt4:
      return 4;
    case PackedCode::kInt8:
    case PackedCode::kFp8:
      return 8;
    case PackedCode::kExact:
      return 16;
  }
  return 16;
}

int64_t PackedLayout::BytesOf(int64_t tokens) const {
  const int64_t pages = (tokens + kPageTokens - 1) / kPageTokens;
  return pages * page.bytes + window.bytes;
}

std::string WhyNotPacked(PrecisionPair pair, int64_t head_dim) {
  if (!IsHeadDim(head_dim)) {
    return "found heads of " + std::to_string(head_dim) +
           " channels, expected 32, 64, 96, 128, 192 or 256";
  }
  for (const KvSide side : {KvSide::kKey, KvSide::kValue}) {
    const KvFormatId id = side == KvSide::kKey ? pair.key : pair.value;
    if (!SideOf(id, side)) {
      return "found the format " + std::string(FormatOf(id).name) +
             ", expected exact, fp8_e4m3, int8, int4, int2, kivi_int8, kivi_int4 or kivi_int2";
    }
  }
  const PackedSide key = *SideOf(pair.key, KvSide::kKey),
                   value = *SideOf(pair.value, KvSide::kValue);
  if (key.has_window() != value.has_window() &&
      (key.has_window() ? value : key).code != PackedCode::kExact) {
    return "found " + PairLabel(pair) +
           " with a residual window on one side, expected both sides or the other one exact";
  }
  return "";
}

PackedLayout PackedLayoutOf(PrecisionPair pair, int64_t head_dim) {
  if (const std::string reason = WhyNotPacked(pair, head_dim); !reason.empty())
    throw Error("packing a cache: " + reason);
  PackedLayout layout;
  layout.key = *SideOf(pair.key, KvSide::kKey);
  layout.value = *SideOf(pair.value, KvSide::kValue);
  layout.head_dim = head_dim;
  layout.page = PlanesOf(layout.key, layout.value, kPageTokens, head_dim);
  if (layout.key.has_window() || layout.value.has_window()) {
    layout.window_tokens = kPackedGroup;
    layout.window = PlanesOf({}, {}, kPackedGroup, head_dim);
  }
  return layout;
}

}  // namespace kvtune
