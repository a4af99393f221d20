// Groups of layers: the layers of a group share one choice of precision pair in the search.
#pragma once

#include <string>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/precision_plan.h"
#include "lib/core/provenance.h"

namespace kvtune {

struct LayerGroup {
  std::vector<size_t> layers;             // in ascending order
  std::vector<PrecisionPair> candidates;  // most bits first; the same for all layers of the group
};

// Every layer is in exactly one group. Groups are ordered by their first layer.
struct LayerGroups {
  Provenance run;
  std::vector<LayerGroup> groups;
};

Json ToJson(const LayerGroups& groups);
// Also throws Error when a layer is missing or is listed twice.
LayerGroups LayerGroupsFromJson(const Json& json, const std::string& source);

}  // namespace kvtune
