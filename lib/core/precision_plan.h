// A precision plan: for every layer, how its keys and its values are stored.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/kv_format.h"

namespace kvtune {

struct PrecisionPair {
  KvFormatId key = KvFormatId::kExact;
  KvFormatId value = KvFormatId::kExact;

  bool is_exact() const { return key == KvFormatId::kExact && value == KvFormatId::kExact; }
  friend auto operator<=>(const PrecisionPair&, const PrecisionPair&) = default;
};

inline constexpr PrecisionPair kExactPair{};

// "KV4" when both sides have 4 bits, else "K8V4", where the formats are labelled by numbers; else
// the format's own label for both sides ("fp8_e4m3") or two ("q8_0/q4_0"). "exact" when both sides
// are. The engine's word where it has one for the pair only (PairNames).
std::string PairLabel(PrecisionPair pair);

// An engine's one word for two formats, for example vLLM's "turboquant_k8v4".
struct PairName {
  PrecisionPair pair;
  std::string_view name;
};

// Makes words of an engine the labels of their pairs. Files hold labels and are read without the
// engine's name at hand, so a word is the whole program's: the engine's source file defines one
// such constant beside its formats, which takes effect before main() begins.
class PairNames {
 public:
  // REQUIRES: the words outlive the program's last label; no other thread runs yet.
  explicit PairNames(std::span<const PairName> names);
};

// Throws Error when no pair of `pairs` has this label, naming those that exist.
PrecisionPair ParsePairLabel(std::string_view label, std::span<const PrecisionPair> pairs);

struct PrecisionPlan {
  std::vector<PrecisionPair> layers;

  static PrecisionPlan Uniform(PrecisionPair pair, size_t layer_count) {
    return {std::vector<PrecisionPair>(layer_count, pair)};
  }
  bool is_exact() const;
  friend auto operator<=>(const PrecisionPlan&, const PrecisionPlan&) = default;
};

struct PrecisionPlanHash {
  size_t operator()(const PrecisionPlan& plan) const;
};

// The plan written out: the commonest pair, then overrides by layer, "KV4;0:KV8;26-27:K8V4".
// Ties for the commonest pair go to the one seen first.
std::string PlanSpec(const PrecisionPlan& plan);

// Reads what PlanSpec writes; later overrides win. A pair is a label of `pairs`, "exact", a format
// name for both sides ("int4") or two names ("int8/int4").
// Throws Error (kUsage) naming the offending part and what was expected.
PrecisionPlan ParsePlanSpec(std::string_view spec, size_t layer_count,
                            std::span<const PrecisionPair> pairs);

}  // namespace kvtune
