#include "lib/core/candidates.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/core/artifacts.h"

namespace kvtune {
namespace {

std::vector<PrecisionPair> AllPairs(const CandidateSet& candidates) {
  std::vector<PrecisionPair> pairs;
  for (const LayerCandidates& layer : candidates.layers) {
    pairs.insert(pairs.end(), layer.kept.begin(), layer.kept.end());
    for (const DroppedPair& dropped : layer.dropped) pairs.push_back(dropped.pair);
  }
  return DistinctPairs(std::move(pairs));
}

Json LayerToJson(const LayerCandidates& layer) {
  Json dropped = Json::array();
  for (const DroppedPair& pair : layer.dropped) {
    dropped.push_back(
        {{"pair", PairLabel(pair.pair)}, {"dominated_by", PairLabel(pair.dominated_by)}});
  }
  return {{"index", layer.index},
          {"kept", PairLabelsToJson(layer.kept)},
          {"dropped", std::move(dropped)}};
}

PrecisionPair ReadPairLabel(JsonFields& fields, std::string_view key,
                            const std::vector<PrecisionPair>& pairs) {
  const std::string label = fields.String(key);
  for (const PrecisionPair pair : pairs) {
    if (PairLabel(pair) == label) return pair;
  }
  fields.Fail(key, fmt::format("found \"{}\", expected a label of the file's \"pairs\"", label));
}

LayerCandidates LayerFromJson(JsonFields fields, size_t expected_index,
                              const std::vector<PrecisionPair>& pairs) {
  LayerCandidates layer;
  layer.index = ReadCount(fields, "index");
  if (layer.index != expected_index) {
    fields.Fail("index", fmt::format("found {}, expected {}", layer.index, expected_index));
  }
  layer.kept = ReadPairLabels(fields, "kept", pairs);
  const auto is_kept = [&](PrecisionPair pair) {
    return std::find(layer.kept.begin(), layer.kept.end(), pair) != layer.kept.end();
  };
  std::vector<PrecisionPair> seen = layer.kept;
  for (JsonFields& dropped : fields.Objects("dropped")) {
    const DroppedPair pair{ReadPairLabel(dropped, "pair", pairs),
                           ReadPairLabel(dropped, "dominated_by", pairs)};
    dropped.RequireNoOthers();
    if (std::find(seen.begin(), seen.end(), pair.pair) != seen.end()) {
      dropped.Fail("pair",
                   fmt::format("found {} twice in one layer, expected it kept or dropped once",
                               PairLabel(pair.pair)));
    }
    if (!is_kept(pair.dominated_by)) {
      dropped.Fail("dominated_by",
                   fmt::format("found {}, expected a kept pair", PairLabel(pair.dominated_by)));
    }
    seen.push_back(pair.pair);
    layer.dropped.push_back(pair);
  }
  fields.RequireNoOthers();
  return layer;
}

}  // namespace

Json ToJson(const CandidateSet& candidates) {
  Json json = {{"schema_version", kSchemaVersion},
               {"run", ToJson(candidates.run)},
               {"metric", candidates.metric},
               {"bits", candidates.bits}};
  WritePairs(json, AllPairs(candidates));
  Json layers = Json::array();
  for (const LayerCandidates& layer : candidates.layers) layers.push_back(LayerToJson(layer));
  json["layers"] = std::move(layers);
  RequireFinite(json, "writing the candidates");
  return json;
}

CandidateSet CandidateSetFromJson(const Json& json, const std::string& source) {
  JsonFields fields = OpenArtifact(json, source);
  CandidateSet candidates;
  candidates.run = ProvenanceFromJson(fields.Object("run"));
  candidates.metric = fields.String("metric");
  if (candidates.metric != "e_o" && candidates.metric != "kl") {
    fields.Fail("metric",
                fmt::format("found \"{}\", expected \"e_o\" or \"kl\"", candidates.metric));
  }
  candidates.bits = fields.String("bits");
  if (candidates.bits != "effective" && candidates.bits != "nominal") {
    fields.Fail("bits", fmt::format("found \"{}\", expected \"effective\" or \"nominal\"",
                                    candidates.bits));
  }
  const std::vector<PrecisionPair> pairs = ReadPairs(fields);
  for (JsonFields& layer : fields.Objects("layers")) {
    candidates.layers.push_back(LayerFromJson(std::move(layer), candidates.layers.size(), pairs));
  }
  if (static_cast<int64_t>(candidates.layers.size()) != candidates.run.layer_count()) {
    fields.Fail("layers", fmt::format("found {} layers, expected {}", candidates.layers.size(),
                                      candidates.run.layer_count()));
  }
  fields.RequireNoOthers();
  return candidates;
}

}  // namespace kvtune
