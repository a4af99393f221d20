#include "lib/core/kv_format.h"

#include <fmt/format.h>

#include <array>

namespace kvtune {
namespace {

constexpr QuantLayout kWholeRow{QuantAxis::kPerToken, 0};
constexpr QuantLayout kTokens32{QuantAxis::kPerChannel, 32};
constexpr QuantLayout kChannels32{QuantAxis::kPerToken, 32};
constexpr int kScaleAndZeroBits = 32;  // 16 bits each
constexpr int kKiviWindowTokens = 32;

// Indexed by KvFormatId.
constexpr std::array<KvFormat, 7> kFormats = {{
    {KvFormatId::kExact, "exact", "16", 16, kWholeRow, kWholeRow, 0, 0},
    {KvFormatId::kInt8, "int8", "8", 8, kWholeRow, kWholeRow, kScaleAndZeroBits, 0},
    {KvFormatId::kInt4, "int4", "4", 4, kWholeRow, kWholeRow, kScaleAndZeroBits, 0},
    {KvFormatId::kInt2, "int2", "2", 2, kWholeRow, kWholeRow, kScaleAndZeroBits, 0},
    {KvFormatId::kKiviInt8, "kivi_int8", "8", 8, kTokens32, kChannels32, kScaleAndZeroBits, kKiviWindowTokens},
    {KvFormatId::kKiviInt4, "kivi_int4", "4", 4, kTokens32, kChannels32, kScaleAndZeroBits, kKiviWindowTokens},
    {KvFormatId::kKiviInt2, "kivi_int2", "2", 2, kTokens32, kChannels32, kScaleAndZeroBits, kKiviWindowTokens},
}};

}  // namespace

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

double EffectiveBits(const KvFormat& format, KvSide side, int64_t head_dim) {
  if (format.is_exact()) return format.bits;
  const QuantLayout& layout = format.layout(side);
  double rows_per_element = 0;
  if (layout.axis == QuantAxis::kPerChannel) {
    rows_per_element = 1.0 / layout.group_size;
  } else {
    const int64_t group = layout.group_size == 0 ? head_dim : layout.group_size;
    const int64_t rows_per_token = (head_dim + group - 1) / group;
    rows_per_element = static_cast<double>(rows_per_token) / static_cast<double>(head_dim);
  }
  return format.bits + format.metadata_bits_per_row * rows_per_element;
}

}  // namespace kvtune
