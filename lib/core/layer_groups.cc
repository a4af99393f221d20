#include "lib/core/layer_groups.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lib/core/artifacts.h"

namespace kvtune {
namespace {

// Reads one group and enters its layers into `group_of`, which holds the number of the group of
// every layer seen so far, and -1 for the other layers.
LayerGroup GroupFromJson(JsonFields fields, int64_t number, const std::vector<PrecisionPair>& pairs,
                         std::vector<int64_t>& group_of) {
  LayerGroup group;
  for (const int64_t layer : fields.Integers("layers")) {
    if (layer < 0 || layer >= static_cast<int64_t>(group_of.size())) {
      fields.Fail("layers", fmt::format("found the layer {}, expected 0 to {}", layer,
                                        static_cast<int64_t>(group_of.size()) - 1));
    }
    const auto index = static_cast<size_t>(layer);
    if (group_of[index] >= 0) {
      fields.Fail(
          "layers",
          fmt::format("found layer {} again (first in groups[{}]), expected every layer in exactly "
                      "one group",
                      layer, group_of[index]));
    }
    if (!group.layers.empty() && index < group.layers.back()) {
      fields.Fail("layers", fmt::format("found {} after {}, expected ascending layers", layer,
                                        group.layers.back()));
    }
    group_of[index] = number;
    group.layers.push_back(index);
  }
  if (group.layers.empty()) fields.Fail("layers", "found no layers, expected at least one");
  group.candidates = ReadPairLabels(fields, "candidates", pairs);
  fields.RequireNoOthers();
  return group;
}

}  // namespace

Json ToJson(const LayerGroups& groups) {
  Json json = {{"schema_version", kSchemaVersion}, {"run", ToJson(groups.run)}};
  std::vector<PrecisionPair> pairs;
  Json groups_json = Json::array();
  for (const LayerGroup& group : groups.groups) {
    pairs.insert(pairs.end(), group.candidates.begin(), group.candidates.end());
    groups_json.push_back(
        {{"layers", group.layers}, {"candidates", PairLabelsToJson(group.candidates)}});
  }
  WritePairs(json, DistinctPairs(std::move(pairs)));
  json["groups"] = std::move(groups_json);
  RequireFinite(json, "writing the layer groups");
  return json;
}

LayerGroups LayerGroupsFromJson(const Json& json, const std::string& source) {
  JsonFields fields = OpenArtifact(json, source);
  LayerGroups groups;
  JsonFields run = fields.Object("run");
  const size_t layer_count = ReadCount(run, "layer_count");
  groups.run = ProvenanceFromJson(std::move(run));
  const std::vector<PrecisionPair> pairs = ReadPairs(fields);
  std::vector<int64_t> group_of(layer_count, -1);
  for (JsonFields& group : fields.Objects("groups")) {
    groups.groups.push_back(GroupFromJson(
        std::move(group), static_cast<int64_t>(groups.groups.size()), pairs, group_of));
    if (groups.groups.size() > 1 && groups.groups.back().layers.front() <
                                        groups.groups[groups.groups.size() - 2].layers.front()) {
      fields.Fail(
          "groups",
          fmt::format("found groups[{}] before a group of an earlier layer, expected groups by "
                      "ascending first layer",
                      groups.groups.size() - 2));
    }
  }
  for (size_t layer = 0; layer < layer_count; ++layer) {
    if (group_of[layer] < 0) {
      fields.Fail(
          "groups",
          fmt::format("found no group with layer {}, expected every layer in exactly one group",
                      layer));
    }
  }
  fields.RequireNoOthers();
  return groups;
}

}  // namespace kvtune
