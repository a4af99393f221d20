#include "lib/targets/transformers_snippet.h"

#include <fmt/format.h>

#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

// The end of _quantize, and _dequantize where it has something to undo.
std::string WriteQuantize(const TransformersLayer& layer) {
  if (layer.tokens_multiple == 1) {
    return "        return super()._quantize(tensor, int(axis))\n";
  }
  return fmt::format(
      "        # The library packs groups of tokens together: any number of tokens is filled up.\n"
      "        filled = pad(tensor, (0, 0, 0, -tensor.shape[-2] % {}))\n"
      "        quantized, meta = super()._quantize(filled, int(axis))\n"
      "        return quantized, {{**meta, \"tokens\": tensor.shape[-2]}}\n\n"
      "    def _dequantize(self, qtensor):\n"
      "        return super()._dequantize(qtensor)[..., :qtensor[1][\"tokens\"], :]\n",
      layer.tokens_multiple);
}

}  // namespace

std::string WriteTransformersSnippet(const ScoredPlan& plan, const TransformersLayer& layer) {
  constexpr int kGroupSize = 64;
  return PlanComment(plan.name, plan.plan) +
         "# Pass kv_cache() as past_key_values to model.generate().\n" +
         std::string(layer.tokens_multiple > 1 ? "from torch.nn.functional import pad\n" : "") +
         "from transformers.cache_utils import Cache, DynamicLayer, " + std::string(layer.name) +
         "\n\n"
         "# Bits of keys and values of every layer; 16: as the model computes them.\n" +
         PythonBits(plan.plan) +
         fmt::format(
             "\n\n"
             "class Axis(int):\n"
             "    \"\"\"The axis of one side, with its bits.\"\"\"\n\n"
             "    def __new__(cls, axis, bits):\n"
             "        self = super().__new__(cls, axis)\n"
             "        self.bits = bits\n"
             "        return self\n\n\n"
             "class QuantizedLayer({0}):\n\n"
             "    def __init__(self, key_bits, value_bits):\n"
             "        super().__init__(nbits=key_bits, axis_key={1}, axis_value={1}, "
             "q_group_size={2},\n"
             "                         residual_length={3})\n"
             "        self.axis_key = Axis({1}, key_bits)\n"
             "        self.axis_value = Axis({1}, value_bits)\n\n"
             "    def _quantize(self, tensor, axis):\n"
             "        {4}\n"
             "{5}\n\n"
             "def kv_cache():\n"
             "    return Cache(layers=[DynamicLayer() if key_bits == 16 else "
             "QuantizedLayer(key_bits, value_bits)\n"
             "                         for key_bits, value_bits in KV_BITS])\n",
             layer.name, layer.axis, kGroupSize,
             FormatOf(KvFormatId::kHqqInt4).residual_window_tokens, layer.set_bits,
             WriteQuantize(layer));
}

}  // namespace kvtune
