#include "lib/io/stored_scales.h"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "lib/base/error.h"
#include "lib/io/module_parts.h"

namespace kvtune {
namespace {

// In this order (vllm/model_executor/model_loader/weight_utils.py, maybe_remap_kv_scale_name).
constexpr std::string_view kKeyNames[] = {"k_proj.k_scale", "k_scale", "attn.k_scale",
                                          "qkv_proj.k_scale", "k_proj.output_scale"};
constexpr std::string_view kValueNames[] = {"v_proj.v_scale", "v_scale", "attn.v_scale",
                                            "qkv_proj.v_scale", "v_proj.output_scale"};
// Of both sides, where a checkpoint has none of each.
constexpr std::string_view kSharedName = "kv_scale";

std::optional<std::string_view> FirstThere(const ModuleParts& attention,
                                           std::span<const std::string_view> names) {
  for (const std::string_view name : names) {
    if (attention.Has(name)) return name;
  }
  if (attention.Has(kSharedName)) return kSharedName;
  return std::nullopt;
}

// The scales of one side of a layer, one for each KV head; empty where there are none or where they
// cannot be used, and `problem` says why.
std::vector<float> ReadSide(const ModuleParts& attention, std::span<const std::string_view> names,
                            int64_t kv_heads, std::string& problem) {
  const auto name = FirstThere(attention, names);
  if (!name) {
    problem = fmt::format("no {}", names[0]);
    return {};
  }
  std::vector<float> scales =
      attention.GetFloats(*name, {{}, {1}, {kv_heads}, {kv_heads, 1}, {kv_heads, 1, 1}, {1, 1}});
  for (const float scale : scales) {
    if (std::isfinite(scale) && scale > 0) continue;
    problem = fmt::format("a {} of {}", *name, scale);
    return {};
  }
  if (scales.size() == 1) scales.resize(static_cast<size_t>(kv_heads), scales.front());
  return scales;
}

// "layers 3, 4 and 9 (no k_proj.k_scale)"; the reason is the first layer's.
std::string Listed(const std::vector<size_t>& layers, const std::string& reason) {
  return fmt::format("{} in layer{} {}", reason, layers.size() == 1 ? "" : "s",
                     fmt::join(layers, ", "));
}

}  // namespace

std::vector<LayerMaxima> ReadStoredScales(const Checkpoint& checkpoint) {
  std::vector<LayerMaxima> scales;
  std::vector<size_t> lacking;
  std::string reason;
  for (size_t layer = 0; layer < checkpoint.config().layers.size(); ++layer) {
    const int64_t kv_heads = checkpoint.config().layers[layer].kv_heads;
    const ModuleParts attention(checkpoint, fmt::format("model.layers.{}.self_attn", layer));
    LayerMaxima found;
    std::string problem;
    found.stored_key_scales = ReadSide(attention, kKeyNames, kv_heads, problem);
    if (problem.empty()) {
      found.stored_value_scales = ReadSide(attention, kValueNames, kv_heads, problem);
    }
    if (!problem.empty()) {
      if (lacking.empty()) reason = problem;
      lacking.push_back(layer);
    }
    scales.push_back(std::move(found));
  }
  if (!lacking.empty()) {
    throw Error(fmt::format(
        "reading the KV cache scales of {}: found {}, expected k_scale and v_scale above 0 in "
        "every layer, because engines take 1 elsewhere (--scales calibrated computes them from "
        "the prompts)",
        checkpoint.directory().string(), Listed(lacking, reason)));
  }
  return scales;
}

}  // namespace kvtune
