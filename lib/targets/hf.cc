// transformers with a quantized cache layer for every decoder layer (transformers/cache_utils.py):
// HQQ or quanto. Its layers have one bit width; the exported snippet gives keys and values their
// own, through the axis, which is all that tells a layer's _quantize the side that it is called
// for.
#include <fmt/format.h>

#include <array>

#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"

namespace kvtune {
namespace {

constexpr std::array kHqq = {KvFormatId::kHqqInt8, KvFormatId::kHqqInt4, KvFormatId::kHqqInt2};
constexpr std::array kQuanto = {KvFormatId::kQuantoInt4, KvFormatId::kQuantoInt2};

constexpr std::string_view kHqqLayer = "HQQQuantizedLayer";
constexpr std::string_view kQuantoLayer = "QuantoQuantizedLayer";

std::string WriteSnippet(const ScoredPlan& plan, std::string_view layer_class, int axis,
                         std::string_view set_bits) {
  constexpr int kGroupSize = 64;
  return PlanComment(plan.name, plan.plan) +
         "# Pass kv_cache() as past_key_values to model.generate().\n"
         "from transformers.cache_utils import Cache, DynamicLayer, " +
         std::string(layer_class) +
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
             "        return super()._quantize(tensor, int(axis))\n\n\n"
             "def kv_cache():\n"
             "    return Cache(layers=[DynamicLayer() if key_bits == 16 else "
             "QuantizedLayer(key_bits, value_bits)\n"
             "                         for key_bits, value_bits in KV_BITS])\n",
             layer_class, axis, kGroupSize, FormatOf(KvFormatId::kHqqInt4).residual_window_tokens,
             set_bits);
}

std::string WriteHqq(const ScoredPlan& plan, const Provenance&, const Target&) {
  return WriteSnippet(plan, kHqqLayer, 1, "self.nbits = axis.bits");
}

std::string WriteQuanto(const ScoredPlan& plan, const Provenance&, const Target&) {
  return WriteSnippet(plan, kQuantoLayer, 0,
                      "from optimum.quanto import qint2, qint4\n"
                      "        self.qtype = qint4 if axis.bits == 4 else qint2");
}

bool IsHqq(std::string_view content) { return content.find(kHqqLayer) != std::string_view::npos; }
bool IsQuanto(std::string_view content) {
  return content.find(kQuantoLayer) != std::string_view::npos;
}

PrecisionPlan ReadHqq(std::string_view content, const std::string& source, size_t layer_count,
                      const Target&) {
  return ReadPythonBits(content, source, layer_count, kHqq);
}

PrecisionPlan ReadQuanto(std::string_view content, const std::string& source, size_t layer_count,
                         const Target&) {
  return ReadPythonBits(content, source, layer_count, kQuanto);
}

}  // namespace

Engine HfEngine() {
  return {
      .target = {.name = "hf",
                 .description = "transformers with HQQ cache layers, newest 128 tokens exact",
                 .shape = {ShapeKind::kAnyPair, AndExact(AllPairs(kHqq))},
                 .pairs = AllPairs(kHqq),
                 .drops_old_tokens = false},
      .exports = {{.summary = {"hf", "Python that builds the cache"},
                   .write = WriteHqq,
                   .recognizes = IsHqq,
                   .read = ReadHqq}},
  };
}

Engine HfQuantoEngine() {
  return {
      .target = {.name = "hf-quanto",
                 .description = "transformers with quanto cache layers, newest 128 tokens exact",
                 .shape = {ShapeKind::kAnyPair, AndExact(AllPairs(kQuanto))},
                 .pairs = AllPairs(kQuanto),
                 .drops_old_tokens = false},
      .exports = {{.summary = {"hf-quanto", "Python that builds the cache"},
                   .write = WriteQuanto,
                   .recognizes = IsQuanto,
                   .read = ReadQuanto}},
  };
}

}  // namespace kvtune
