#include "lib/core/rope_config.h"

#include <fmt/format.h>

namespace kvtune {
namespace {

// `scaling` holds the type and its parameters: config.json's rope_scaling or rope_parameters.
void ReadScaling(JsonFields scaling, RopeConfig& rope) {
  // Old files say "type", newer ones "rope_type".
  const std::string_view type_key = scaling.Has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.Has(type_key) ? scaling.String(type_key) : "default";
  if (type == "default") return;
  if (type != "llama3") {
    scaling.Fail(type_key, fmt::format("found \"{}\", expected \"default\" or \"llama3\"", type));
  }
  rope.type = RopeType::kLlama3;
  rope.factor = scaling.Number("factor");
  rope.low_freq_factor = scaling.Number("low_freq_factor");
  rope.high_freq_factor = scaling.Number("high_freq_factor");
  rope.original_max_position_embeddings = scaling.Integer("original_max_position_embeddings");
  if (rope.original_max_position_embeddings <= 0) {
    scaling.Fail("original_max_position_embeddings",
                 fmt::format("found {}, expected a positive integer",
                             rope.original_max_position_embeddings));
  }
  if (rope.factor < 1 || rope.high_freq_factor <= rope.low_freq_factor) {
    scaling.Fail("factor",
                 fmt::format("found factor {}, low_freq_factor {}, high_freq_factor {}, expected "
                             "factor >= 1 and low_freq_factor < high_freq_factor",
                             rope.factor, rope.low_freq_factor, rope.high_freq_factor));
  }
}

void RequireFullRotation(JsonFields& fields) {
  constexpr std::string_view kKey = "partial_rotary_factor";
  if (!fields.Has(kKey)) return;
  if (const double factor = fields.Number(kKey); factor != 1) {
    fields.Fail(kKey, fmt::format("found {}, expected 1: partial rotation is not supported yet",
                                  factor));
  }
}

}  // namespace

RopeConfig ReadRope(JsonFields& config, int64_t head_dim) {
  RequireFullRotation(config);
  RopeConfig rope;
  rope.rotary_dim = head_dim;
  if (config.Has("rope_theta")) rope.theta = config.Number("rope_theta");
  if (config.Has("rope_parameters")) {  // transformers 5
    JsonFields parameters = config.Object("rope_parameters");
    RequireFullRotation(parameters);
    if (parameters.Has("rope_theta")) rope.theta = parameters.Number("rope_theta");
    ReadScaling(parameters, rope);
  } else if (config.Has("rope_scaling")) {
    ReadScaling(config.Object("rope_scaling"), rope);
  }
  if (rope.theta <= 0) {
    config.Fail("rope_theta", fmt::format("found {}, expected a positive number", rope.theta));
  }
  return rope;
}

}  // namespace kvtune
