// Hugging Face transformers with quanto layers in its cache.
#include <array>

#include "lib/targets/engine.h"
#include "lib/targets/plan_text.h"
#include "lib/targets/transformers_snippet.h"

namespace kvtune {
namespace {

constexpr std::array kFormats = {KvFormatId::kQuantoInt4, KvFormatId::kQuantoInt2};

constexpr TransformersLayer kLayer = {
    .name = "QuantoQuantizedLayer",
    .axis = 0,
    .set_bits =
        "from optimum.quanto import qint2, qint4\n"
        "        self.qtype = qint4 if axis.bits == 4 else qint2"};

std::string Write(const ScoredPlan& plan, const Provenance&, const Target&) {
  return WriteTransformersSnippet(plan, kLayer);
}

bool Recognizes(std::string_view content) { return HasPythonBits(content, kLayer.name); }

PrecisionPlan Read(std::string_view content, const std::string& source, size_t layer_count,
                   const Target&) {
  return ReadPythonBits(content, source, layer_count, kFormats);
}

}  // namespace

Engine HfQuantoEngine() {
  return {
      .target = {.name = "hf-quanto",
                 .description = "transformers with quanto cache layers, newest 128 tokens exact",
                 .shape = {ShapeKind::kAnyPair, AndExact(AllPairs(kFormats))},
                 .pairs = AllPairs(kFormats),
                 .drops_old_tokens = false},
      .exports = {{.summary = {"hf-quanto", "Python that builds the cache"},
                   .words = "KV_BITS with QuantoQuantizedLayer",
                   .write = Write,
                   .recognizes = Recognizes,
                   .read = Read}},
  };
}

}  // namespace kvtune
