// exllamav3: each side of each layer takes 2 to 8 bits, which are set by replacing layers of its
// cache (exllamav3/cache).
#include <array>

#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kExllamaInt8, KvFormatId::kExllamaInt7,
                                 KvFormatId::kExllamaInt6, KvFormatId::kExllamaInt5,
                                 KvFormatId::kExllamaInt4, KvFormatId::kExllamaInt3,
                                 KvFormatId::kExllamaInt2};

// exllamav3 keeps layers with a sliding window in half precision and outside of Cache.layers, so
// their bits cannot be set.
std::optional<std::string> WhyNotStored(PrecisionPair pair, const LayerShape& layer) {
  if (layer.window_tokens > 0) return "found a sliding window, which exllamav3 does not quantize";
  return WhyNotInGroups(pair, layer);
}

std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  return PlanComment(plan.name, plan.plan) +
         "# Call set_kv_bits(cache) behind cache = Cache(model, max_num_tokens = ...), before "
         "model.load().\n"
         "from exllamav3.cache import CacheLayer_fp16, CacheLayer_quant\n\n"
         "# Bits of keys and values of every layer; 16: half precision.\n" +
         PythonBits(plan.plan) +
         "\n\n"
         "def set_kv_bits(cache):\n"
         "    paged = {layer.attention.layer_idx for layer in cache.layers.values()}\n"
         "    missing = [i for i, bits in enumerate(KV_BITS) if i not in paged and bits != (16, "
         "16)]\n"
         "    if missing:\n"
         "        raise ValueError(f\"exllamav3 keeps layers {missing} (sliding windows) in half "
         "precision\")\n"
         "    cache.detach_from_model()\n"
         "    for name, layer in cache.layers.items():\n"
         "        key_bits, value_bits = KV_BITS[layer.attention.layer_idx]\n"
         "        arguments = (layer.config, layer.attention, layer.cache_id, "
         "layer.max_num_tokens)\n"
         "        cache.layers[name] = (CacheLayer_fp16(*arguments) if key_bits == 16\n"
         "                              else CacheLayer_quant(*arguments, k_bits=key_bits, "
         "v_bits=value_bits))\n"
         "    cache.attach_to_model()\n";
}

bool Recognizes(std::string_view content) { return HasPythonBits(content, "CacheLayer_quant"); }

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  return ReadPythonBits(content, source, layer_count, kFormats);
}

}  // namespace

Engine Exllamav3Engine() {
  return {
      .target = {.name = "exllamav3",
                 .description = "exllamav3: 2 to 8 bits for each side of each layer",
                 .shape = {ShapeKind::kAnyPair, AndExact(AllPairs(kFormats))},
                 .pairs = AllPairs(kFormats)},
      .exports = {{.summary = {"exllamav3", "Python that sets the layers of its cache"},
                   .words = "KV_BITS with CacheLayer_quant",
                   .write = Write,
                   .recognizes = Recognizes,
                   .read = Read}},
      .why_not_stored = WhyNotStored,
  };
}

}  // namespace kvtune
