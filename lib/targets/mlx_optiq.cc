// mlx-optiq: keys and values of a layer take the same bits, in groups of 64 channels (its
// kv_config.json, which `optiq serve --kv-config` reads). A layer that the file leaves out stays as
// the model computes it (optiq/serve.py, install_mixed_kv); Plans with such layers are read, scored
// and written, but not searched: an exact layer gains little over one of 8 bits, and with more
// choices the search finds less in the same time.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kMlxInt8, KvFormatId::kMlxInt6, KvFormatId::kMlxInt5,
                                 KvFormatId::kMlxInt4, KvFormatId::kMlxInt3, KvFormatId::kMlxInt2};
constexpr int64_t kGroupSize = 64;
constexpr const char* kLayerKey = "layer_idx";

std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  // An empty list would say the same, but it is also what a file looks like that says nothing, so
  // it is neither written nor read.
  if (plan.plan.is_exact()) {
    throw Error(fmt::format(
        "exporting {} as mlx-optiq: found no layer with fewer than 16 bits, expected one (without "
        "--kv-config the engine keeps all layers exact)",
        plan.name));
  }
  std::string entries;
  for (size_t layer = 0; layer < plan.plan.layers.size(); ++layer) {
    if (plan.plan.layers[layer].is_exact()) continue;
    entries += fmt::format("{}{{\"layer_idx\":{},\"bits\":{},\"group_size\":{}}}",
                           entries.empty() ? "" : ", ", layer,
                           FormatOf(plan.plan.layers[layer].key).bits, kGroupSize);
  }
  return fmt::format("[{}]\n", entries);
}

bool Recognizes(std::string_view content) {
  const std::optional<Json> json = TryJson(content);
  return json && json->is_array() && !json->empty() && json->front().is_object() &&
         json->front().contains(kLayerKey);
}

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  const Json json = ParseJson(content, source);
  PrecisionPlan plan = PrecisionPlan::Uniform(kExactPair, layer_count);
  for (size_t i = 0; i < json.size(); ++i) {
    JsonFields entry(json[i], fmt::format("{}: entry {}", source, i));
    const size_t layer =
        LayerIndexOf(fmt::format("{}", entry.Integer(kLayerKey)), layer_count, source);
    PrecisionPair& pair = plan.layers[layer];
    if (!pair.is_exact()) throw Error(fmt::format("{}: found layer {} twice", source, layer));
    const int64_t bits = entry.Integer("bits");
    for (const KvFormatId id : kFormats) {
      if (FormatOf(id).bits == bits) pair = {id, id};
    }
    if (pair.is_exact())
      entry.Fail("bits", fmt::format("found {}, expected 8, 6, 5, 4, 3 or 2", bits));
    if (const int64_t group = entry.Integer("group_size"); group != kGroupSize) {
      entry.Fail("group_size", fmt::format("found {}, expected {}", group, kGroupSize));
    }
    entry.RequireNoOthers();
  }
  return plan;
}

}  // namespace

Engine MlxOptiqEngine() {
  return {
      .target = {.name = "mlx-optiq",
                 .description =
                     "MLX with mlx-optiq: affine, the same bits for a layer's keys and values",
                 .shape = {ShapeKind::kAnyPair, TiedPairs(kFormats)},
                 .pairs = TiedPairs(kFormats)},
      .exports = {{.summary = {"mlx-optiq", "kv_config.json of optiq serve"},
                   .words = "a list of layer_idx, bits, group_size",
                   .write = Write,
                   .recognizes = Recognizes,
                   .read = Read,
                   .shape = PlanShape{ShapeKind::kAnyPair, AndExact(TiedPairs(kFormats))}}},
  };
}

}  // namespace kvtune
