#include "lib/core/layer_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

namespace kvtune {
namespace {

// Returns the layers that have this shape as ranges, for example "0-4,6-10".
std::string RangesOf(const LayerShape& shape, std::span<const LayerShape> layers) {
  std::string ranges;
  for (size_t first = 0; first < layers.size(); ++first) {
    if (layers[first] != shape) continue;
    size_t last = first;
    while (last + 1 < layers.size() && layers[last + 1] == shape) ++last;
    if (!ranges.empty()) ranges += ',';
    ranges += first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
    first = last;
  }
  return ranges;
}

std::optional<size_t> NumberOf(std::string_view text) {
  size_t number = 0;
  const auto [end, reason] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (reason != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

int64_t ReadSize(JsonFields& fields, std::string_view key, int64_t smallest) {
  const int64_t size = fields.Integer(key);
  if (size < smallest)
    fields.Fail(key, fmt::format("found {}, expected {} or more", size, smallest));
  return size;
}

// Gives its shape to each layer that "layers" lists. REQUIRES: `layers` has one entry for each
// layer of the model.
void ReadShape(JsonFields& fields, std::vector<std::optional<LayerShape>>& layers) {
  const std::string ranges = fields.String("layers");
  const LayerShape shape{.kv_heads = ReadSize(fields, "kv_heads", 1),
                         .key_head_dim = ReadSize(fields, "key_head_dim", 1),
                         .value_head_dim = ReadSize(fields, "value_head_dim", 1),
                         .window_tokens = ReadSize(fields, "window_tokens", 0)};
  fields.RequireNoOthers();
  std::string_view rest = ranges;
  for (bool more = true; more;) {
    const size_t comma = rest.find(',');
    const std::string_view range = rest.substr(0, comma);
    more = comma != std::string_view::npos;
    if (more) rest.remove_prefix(comma + 1);
    const size_t dash = range.find('-');
    const std::optional<size_t> first = NumberOf(range.substr(0, dash));
    const std::optional<size_t> last =
        dash == std::string_view::npos ? first : NumberOf(range.substr(dash + 1));
    if (!first || !last || *last < *first || *last >= layers.size()) {
      fields.Fail("layers", fmt::format("found \"{}\", expected ranges of the layers 0 to {}",
                                        ranges, layers.size() - 1));
    }
    for (size_t layer = *first; layer <= *last; ++layer) {
      if (layers[layer]) fields.Fail("layers", fmt::format("found layer {} twice", layer));
      layers[layer] = shape;
    }
  }
}

}  // namespace

std::vector<LayerShape> LayerShapesOf(const ModelConfig& model) {
  std::vector<LayerShape> shapes;
  for (const LayerConfig& layer : model.layers) {
    shapes.push_back({.kv_heads = layer.kv_heads,
                      .key_head_dim = layer.key_head_dim,
                      .value_head_dim = layer.value_head_dim,
                      .window_tokens = layer.window_tokens});
  }
  return shapes;
}

Json ToJson(std::span<const LayerShape> layers) {
  Json json = Json::array();
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerShape& shape = layers[i];
    if (std::ranges::find(layers.first(i), shape) != layers.begin() + static_cast<ptrdiff_t>(i))
      continue;
    json.push_back({{"layers", RangesOf(shape, layers)},
                    {"kv_heads", shape.kv_heads},
                    {"key_head_dim", shape.key_head_dim},
                    {"value_head_dim", shape.value_head_dim},
                    {"window_tokens", shape.window_tokens}});
  }
  return json;
}

std::vector<LayerShape> LayerShapesFromJson(JsonFields& fields, std::string_view key,
                                            size_t layer_count) {
  std::vector<std::optional<LayerShape>> layers(layer_count);
  for (JsonFields& shape : fields.Objects(key)) ReadShape(shape, layers);
  std::vector<LayerShape> shapes;
  for (size_t layer = 0; layer < layer_count; ++layer) {
    if (!layers[layer]) fields.Fail(key, fmt::format("found no shape of layer {}", layer));
    shapes.push_back(*layers[layer]);
  }
  return shapes;
}

}  // namespace kvtune
