// config.json, and all that is computed from it before weights are read: sizes, shapes, what each
// engine can store and what that costs.
#include <nlohmann/json.hpp>

#include "lib/core/layer_shape.h"
#include "lib/core/model_config.h"
#include "lib/core/model_size.h"
#include "lib/targets/target.h"
#include "tests/fuzz/fuzzer.h"

namespace kvtune {
namespace {

void RequireShapesReadBack(const ModelConfig& config) {
  const std::vector<LayerShape> shapes = LayerShapesOf(config);
  const Json json = {{"layers", ToJson(std::span<const LayerShape>(shapes))}};
  JsonFields fields(json, "shapes");
  fuzz::Require(LayerShapesFromJson(fields, "layers", shapes.size()) == shapes,
                "shapes of layers read back equal");
}

void CostEverywhere(const ModelConfig& config) {
  for (const Target& target : Targets()) {
    try {
      const Target fitted = TargetFor(target, config);
      const PrecisionPair cheapest = fitted.pairs.back();
      const PrecisionPlan plan = fitted.shape.Uniform(cheapest, config.layers.size());
      for (const int64_t context : {int64_t{1}, int64_t{131072}}) {
        fuzz::Require(CostOf(fitted, plan, config, context).bytes_per_token > 0,
                      "a cache has bytes");
        PaddedBytesPerToken(fitted, plan, config, context);
      }
    } catch (const Error&) {
      // The engine cannot store this model. Another one may.
    }
  }
}

}  // namespace
}  // namespace kvtune

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const ModelConfig config =
        ParseModelConfig(ParseJson(fuzz::TextOf(data, size), "config.json"), "config.json");
    fuzz::Require(!config.layers.empty(), "a model has layers");
    const ModelSize model_size = SizeOf(config);
    fuzz::Require(model_size.parameters() > 0, "a model has parameters");
    fuzz::Require(model_size.streamed_parameters() > 0, "a streamed model has parameters");
    PlaceOfWeights(model_size, {"cpu", int64_t{1} << 34, "float32", 4});
    RequireShapesReadBack(config);
    CostEverywhere(config);
  });
}
