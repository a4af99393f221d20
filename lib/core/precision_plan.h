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

// Returns the label of a pair. Formats that are labelled by numbers give "KV4" when both sides have
// 4 bits, and otherwise "K8V4". Other formats give the format's own label when both sides share it
// ("fp8_e4m3"), and otherwise both labels ("q8_0/q4_0"). A pair that is exact on both sides is
// "exact". An engine's word for the pair, if PairNames has one, takes precedence.
std::string PairLabel(PrecisionPair pair);

// The one word that an engine has for a pair of formats, for example vLLM's "turboquant_k8v4".
struct PairName {
  PrecisionPair pair;
  std::string_view name;
};

// Makes an engine's words the labels of their pairs. Files hold labels and are read without knowing
// the engine, so a word holds for the whole program. The engine's source file defines one such
// constant beside its formats, and that takes effect before main() begins.
class PairNames {
 public:
  // REQUIRES: the words outlive the program's last use of a label, and no other thread runs yet.
  explicit PairNames(std::span<const PairName> names);
};

// Throws Error that names the existing labels when no pair of `pairs` has this label.
PrecisionPair ParsePairLabel(std::string_view label, std::span<const PrecisionPair> pairs);

struct PrecisionPlan {
  std::vector<PrecisionPair> layers;

  static PrecisionPlan Uniform(PrecisionPair pair, size_t layer_count) {
    return {std::vector<PrecisionPair>(layer_count, pair)};
  }
  bool is_exact() const;
  friend auto operator<=>(const PrecisionPlan&, const PrecisionPlan&) = default;
};

// A plan as the user or a table names it.
struct NamedPlan {
  std::string name;
  PrecisionPlan plan;
};

struct PrecisionPlanHash {
  size_t operator()(const PrecisionPlan& plan) const;
};

// Writes out the plan: the most frequent pair first, then overrides by layer, as in
// "KV4;0:KV8;26-27:K8V4". If two pairs are equally frequent, the one that occurs first is chosen.
std::string PlanSpec(const PrecisionPlan& plan);

// Reads what PlanSpec writes; later overrides win. A pair is a label of `pairs`, "exact", one
// format name for both sides ("int4") or two names ("int8/int4"). Throws Error (kUsage) naming the
// offending part and what was expected.
PrecisionPlan ParsePlanSpec(std::string_view spec, size_t layer_count,
                            std::span<const PrecisionPair> pairs);

}  // namespace kvtune
