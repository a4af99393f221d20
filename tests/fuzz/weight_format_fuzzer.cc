// "quantization_config" of config.json, or "quantization" of hf_quant_config.json, and whether
// modules are left out.
#include <nlohmann/json.hpp>

#include "lib/io/weight_format.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const Json json = ParseJson(fuzz::TextOf(data, size), "config.json");
    const JsonFields fields(json, "quantization");
    const WeightFormat format =
        fields.Has("quant_method") ? ParseWeightFormat(fields) : ParseModelOptWeightFormat(fields);
    Describe(format);
    for (const std::string_view module :
         {"lm_head", "model.embed_tokens", "model.layers.10.self_attn.q_proj",
          "model.layers.0.mlp.experts.7.down_proj"}) {
      format.ignored.Name(module);
    }
  });
}
