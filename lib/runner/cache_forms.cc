#include "lib/runner/cache_forms.h"

#include <algorithm>

#include "lib/runner/packed_sequences.h"

namespace kvtune {

CacheForms FormsFor(const Decoder& decoder, std::span<const PrecisionPlan> plans) {
  const std::vector<LayerConfig>& layers = decoder.config().layers;
  CacheForms forms(layers.size(), CacheForm::kFakeQuantized);
  if (!decoder.options().device().is_cuda()) return forms;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    std::vector<PrecisionPair> pairs;
    for (const PrecisionPlan& plan : plans) pairs.push_back(plan.layers[layer]);
    if (CanPack(layers[layer], pairs, decoder.options().dtype().toScalarType()))
      forms[layer] = CacheForm::kPacked;
  }
  return forms;
}

std::string DescriptionOf(const CacheForms& forms) {
  return std::to_string(forms.size()) + " layers, " +
         std::to_string(std::ranges::count(forms, CacheForm::kPacked)) + " of them packed";
}

std::vector<int64_t> FakeQuantizedBytes(const Decoder& decoder, const CacheForms& forms,
                                        int64_t max_tokens) {
  const auto each = static_cast<int64_t>(decoder.options().dtype().itemsize());
  std::vector<int64_t> bytes(decoder.stages().size(), 0);
  for (size_t i = 0; i < decoder.config().layers.size(); ++i) {
    if (forms[i] != CacheForm::kFakeQuantized) continue;
    const LayerConfig& layer = decoder.config().layers[i];
    bytes[decoder.StageOf(i)] +=
        (layer.kv_width(KvSide::kKey) + layer.kv_width(KvSide::kValue)) * max_tokens * each;
  }
  return bytes;
}

std::vector<int64_t> PackedBytes(const Decoder& decoder, const CacheForms& forms,
                                 const PrecisionPlan& plan, int64_t tokens) {
  std::vector<int64_t> bytes;
  for (size_t stage = 0; stage < decoder.stages().size(); ++stage) {
    std::vector<LayerConfig> layers;
    std::vector<PrecisionPair> pairs;
    for (const size_t layer : PackedLayersOf(decoder, forms, stage)) {
      layers.push_back(decoder.config().layers[layer]);
      pairs.push_back(plan.layers[layer]);
    }
    bytes.push_back(PackedMemory::BytesOf(layers, pairs, tokens));
  }
  return bytes;
}

std::vector<size_t> PackedLayersOf(const Decoder& decoder, const CacheForms& forms, size_t stage) {
  std::vector<size_t> layers;
  for (size_t i = 0; i < forms.size(); ++i) {
    if (forms[i] == CacheForm::kPacked && decoder.StageOf(i) == stage) layers.push_back(i);
  }
  return layers;
}

}  // namespace kvtune
