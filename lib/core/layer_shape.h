// The shape of a layer's cache: its heads, their sizes, and how many tokens back it reaches.
//
// An engine needs to know no more of a layer to store its cache. Every run keeps the shapes of its
// model's layers (lib/core/provenance.h), so a plan of the run can be exported without the model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/json_fields.h"
#include "lib/core/kv_format.h"
#include "lib/core/model_config.h"

namespace kvtune {

struct LayerShape {
  int64_t kv_heads = 0;
  int64_t key_head_dim = 0;
  int64_t value_head_dim = 0;
  int64_t window_tokens = 0;  // as in LayerConfig; 0 for full attention

  int64_t head_dim(KvSide side) const {
    return side == KvSide::kKey ? key_head_dim : value_head_dim;
  }
  friend bool operator==(const LayerShape&, const LayerShape&) = default;
};

// Returns the shape of every layer, in order.
std::vector<LayerShape> LayerShapesOf(const ModelConfig& model);

// Writes one object for every distinct shape, in the order of the first layer that has it. The
// layers that have the shape are written as ranges: {"layers": "0-4,6-10", "kv_heads": 4, ...}.
Json ToJson(std::span<const LayerShape> layers);
// Reads them back. Throws Error when the ranges do not give exactly one shape to each of the layers
// 0 to `layer_count` - 1.
std::vector<LayerShape> LayerShapesFromJson(JsonFields& fields, std::string_view key,
                                            size_t layer_count);

}  // namespace kvtune
