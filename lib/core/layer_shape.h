// What a layer's cache holds for one token: the heads and their sizes, and how far back it reaches.
//
// This is all that an engine asks of a layer before it stores it, so every run keeps the shapes of
// its model's layers (lib/core/provenance.h): a plan of the run can be exported without the model.
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
  int64_t window_tokens = 0;  // as in LayerConfig; 0: full attention

  int64_t head_dim(KvSide side) const {
    return side == KvSide::kKey ? key_head_dim : value_head_dim;
  }
  friend bool operator==(const LayerShape&, const LayerShape&) = default;
};

// Of every layer, in order.
std::vector<LayerShape> LayerShapesOf(const ModelConfig& model);

// One object for every distinct shape, in the order of their first layers, with the layers that
// have it as ranges: {"layers": "0-4,6-10", "kv_heads": 4, ...}.
Json ToJson(std::span<const LayerShape> layers);
// Throws Error where the ranges do not give each of the layers 0 to `layer_count` - 1 one shape.
std::vector<LayerShape> LayerShapesFromJson(JsonFields& fields, std::string_view key,
                                            size_t layer_count);

}  // namespace kvtune
