// The result of pruning: for every layer, the precision pairs that are worth searching.
#pragma once

#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/precision_plan.h"
#include "lib/core/provenance.h"

namespace kvtune {

// A pair that pruning dropped, and the kept pair that makes it needless because it takes no more
// bits and has no more error.
struct DroppedPair {
  PrecisionPair pair;
  PrecisionPair dominated_by;
};

struct LayerCandidates {
  size_t index = 0;
  std::vector<PrecisionPair> kept;  // most bits first
  std::vector<DroppedPair> dropped;
};

struct CandidateSet {
  Provenance run;
  std::string metric;  // the error that pruning used: "e_o" or "kl"
  std::string bits;    // "effective" or "nominal"
  std::vector<LayerCandidates> layers;
};

Json ToJson(const CandidateSet& candidates);
CandidateSet CandidateSetFromJson(const Json& json, const std::string& source);

}  // namespace kvtune
