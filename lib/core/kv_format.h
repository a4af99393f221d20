// The storage formats of keys and values: one table, described as data.
//
// A KvFormat says how one side (keys or values) of a layer's cache is stored: how many bits, which
// elements share a scale, and how many of the newest tokens stay exact. The numerics are the
// asymmetric quantizer of KVTuner's "vanilla" cache (arXiv 2502.04420, section 3 and appendix B):
// per-token rows, or KIVI's per-channel keys and grouped values (arXiv 2402.02750).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kvtune {

// Which elements form a row with one scale and one zero.
enum class QuantAxis {
  kPerToken,    // neighbouring channels of one token of one KV head
  kPerChannel,  // neighbouring tokens of one channel of one KV head
};

struct QuantLayout {
  QuantAxis axis = QuantAxis::kPerToken;
  // Elements in a row. 0: the whole of head_dim (kPerToken only). The last row of a token may be
  // shorter; rows along tokens are always full, the rest waits in the residual window.
  int group_size = 0;

  friend bool operator==(const QuantLayout&, const QuantLayout&) = default;
};

enum class KvSide { kKey, kValue };

enum class KvFormatId : uint8_t {
  kExact,
  kInt8, kInt4, kInt2,
  kKiviInt8, kKiviInt4, kKiviInt2,
};

struct KvFormat {
  KvFormatId id = KvFormatId::kExact;
  std::string_view name;   // as in plan files, for example "int4"
  std::string_view label;  // as in pair labels: "4" of KV4; "16" for exact
  int bits = 16;           // nominal bits per element
  QuantLayout key_layout;
  QuantLayout value_layout;
  int metadata_bits_per_row = 0;    // scale and zero
  int residual_window_tokens = 0;   // the newest tokens that stay exact

  bool is_exact() const { return id == KvFormatId::kExact; }
  const QuantLayout& layout(KvSide side) const { return side == KvSide::kKey ? key_layout : value_layout; }
};

const KvFormat& FormatOf(KvFormatId id);

// nullopt when no format has this name.
std::optional<KvFormatId> FindFormat(std::string_view name);

// "int8, int4, int2, ..." for messages.
std::string FormatNames();

// Bits per stored element including scales and zeros, without the residual window.
// REQUIRES: head_dim > 0.
double EffectiveBits(const KvFormat& format, KvSide side, int64_t head_dim);

}  // namespace kvtune
