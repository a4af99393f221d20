// Hugging Face transformers with HQQ layers in its cache.
#include <array>

#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"
#include "lib/targets/transformers_snippet.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kHqqInt8, KvFormatId::kHqqInt4, KvFormatId::kHqqInt2};

constexpr TransformersLayer kLayer = {
    .name = "HQQQuantizedLayer",
    .axis = 1,
    .set_bits = "self.nbits = axis.bits",
    // Its 2-bit form puts four groups into one byte, so that their number has to divide by 4
    // (hqq/core/bitpack.py). A group never spans two tokens.
    .tokens_multiple = 4};

std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  return WriteTransformersSnippet(plan, kLayer);
}

bool Recognizes(std::string_view content) { return HasPythonBits(content, kLayer.name); }

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  return ReadPythonBits(content, source, layer_count, kFormats);
}

}  // namespace

Engine HfEngine() {
  return {
      .target = {.name = "hf",
                 .description = "transformers with HQQ cache layers, newest 128 tokens exact",
                 .shape = {ShapeKind::kAnyPair, AndExact(AllPairs(kFormats))},
                 .pairs = AllPairs(kFormats),
                 .drops_old_tokens = false},
      .exports = {{.summary = {"hf", "Python that builds the cache"},
                   .words = "KV_BITS with HQQQuantizedLayer",
                   .write = Write,
                   .recognizes = Recognizes,
                   .read = Read}},
  };
}

}  // namespace kvtune
