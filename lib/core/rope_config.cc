#include "lib/core/rope_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

namespace kvtune {
namespace {

// No model has numbers near these. Beyond them, angles of positions are rounded to nothing, and
// scores would be NaN without a word about the field.
constexpr double kLeastTheta = 2, kMostTheta = 1e12;
constexpr double kMostFactor = 1e6;
constexpr int64_t kMostPositions = int64_t{1} << 40;

double NumberOr(JsonFields& fields, std::string_view key, double fallback, double least,
                double most) {
  return fields.Has(key) ? fields.NumberWithin(key, least, most) : fallback;
}

// A factor that may be missing. What stands for it comes from other fields and is checked too.
double FactorOr(JsonFields& fields, std::string_view key, double fallback) {
  const double factor = fields.Has(key) ? fields.Number(key) : fallback;
  // NaN compares false.
  if (factor >= 1 / kMostFactor && factor <= kMostFactor) return factor;
  fields.Fail(key, fmt::format("found {}, expected a number from {} to {}", factor, 1 / kMostFactor,
                               kMostFactor));
}

// `scaling` is config.json's rope_scaling or rope_parameters. A field of the model itself, as Phi-3
// has it, comes first.
int64_t OriginalContext(JsonFields& config, JsonFields& scaling, const RopeContext& context) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  JsonFields& place = config.Has(kKey) ? config : scaling;
  if (!place.Has(kKey)) return context.max_position_embeddings;
  const int64_t tokens = place.Integer(kKey);
  if (tokens <= 0 || tokens > kMostPositions) {
    place.Fail(kKey, fmt::format("found {}, expected a positive integer of at most {}", tokens,
                                 kMostPositions));
  }
  return tokens;
}

double FactorOf(JsonFields& scaling) { return scaling.NumberWithin("factor", 1, kMostFactor); }

void ReadLlama3(JsonFields& scaling, RopeConfig& rope) {
  rope.factor = FactorOf(scaling);
  rope.low_freq_factor = scaling.NumberWithin("low_freq_factor", 1 / kMostFactor, kMostFactor);
  rope.high_freq_factor = scaling.NumberWithin("high_freq_factor", 1 / kMostFactor, kMostFactor);
  if (!(rope.high_freq_factor > rope.low_freq_factor)) {
    scaling.Fail("low_freq_factor",
                 fmt::format("found {} and high_freq_factor {}, expected the second to be the "
                             "larger one",
                             rope.low_freq_factor, rope.high_freq_factor));
  }
}

// The ratio of the two contexts where the file has no factor.
double FactorOrRatio(JsonFields& scaling, const RopeConfig& rope, const RopeContext& context) {
  if (scaling.Has("factor")) return FactorOf(scaling);
  return static_cast<double>(context.max_position_embeddings) /
         static_cast<double>(rope.original_max_position_embeddings);
}

// YaRN (arXiv 2309.00071), _compute_yarn_parameters.
void ReadYarn(JsonFields& scaling, RopeConfig& rope, const RopeContext& context) {
  rope.factor = FactorOrRatio(scaling, rope, context);
  rope.beta_fast = FactorOr(scaling, "beta_fast", 32);
  rope.beta_slow = FactorOr(scaling, "beta_slow", 1);
  if (scaling.Has("truncate")) rope.truncated = scaling.Bool("truncate");
  const auto mscale = [&](double weight) {
    return rope.factor <= 1 ? 1.0 : 0.1 * weight * std::log(rope.factor) + 1.0;
  };
  const double numerator = NumberOr(scaling, "mscale", 0, -kMostFactor, kMostFactor);
  const double denominator = NumberOr(scaling, "mscale_all_dim", 0, -kMostFactor, kMostFactor);
  const bool has_both = numerator != 0 && denominator != 0;
  rope.attention_factor = FactorOr(scaling, "attention_factor",
                                   has_both ? mscale(numerator) / mscale(denominator) : mscale(1));
}

std::vector<double> ReadFactors(JsonFields& scaling, std::string_view key, int64_t count) {
  std::vector<double> factors = scaling.Numbers(key);
  if (static_cast<int64_t>(factors.size()) != count) {
    scaling.Fail(key, fmt::format("found {} numbers, expected {}, half the rotated channels",
                                  factors.size(), count));
  }
  for (const double factor : factors) {
    if (!(factor >= 1 / kMostFactor && factor <= kMostFactor)) {
      scaling.Fail(key, fmt::format("found {}, expected numbers from {} to {}", factor,
                                    1 / kMostFactor, kMostFactor));
    }
  }
  return factors;
}

// LongRoPE (arXiv 2402.13753), _compute_longrope_parameters.
void ReadLongRope(JsonFields& scaling, RopeConfig& rope, const RopeContext& context) {
  rope.short_factor = ReadFactors(scaling, "short_factor", rope.rotary_dim / 2);
  rope.long_factor = ReadFactors(scaling, "long_factor", rope.rotary_dim / 2);
  rope.factor = FactorOrRatio(scaling, rope, context);
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  rope.attention_factor =
      FactorOr(scaling, "attention_factor",
               rope.factor <= 1 ? 1 : std::sqrt(1 + std::log(rope.factor) / std::log(original)));
}

void ReadScaling(JsonFields& config, JsonFields& scaling, const RopeContext& context,
                 RopeConfig& rope) {
  // Old files say "type", newer ones "rope_type".
  const std::string_view type_key = scaling.Has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.Has(type_key) ? scaling.String(type_key) : "default";
  rope.original_max_position_embeddings = OriginalContext(config, scaling, context);
  const bool has_alpha = scaling.Has("alpha");
  if (type == "default" || (type == "mrope" && context.has_sections) ||
      (type == "dynamic" && !has_alpha)) {
    rope.original_max_position_embeddings = 0;
  } else if (type == "dynamic" && context.has_alpha) {
    rope.original_max_position_embeddings = 0;
    const auto channels = static_cast<double>(context.head_dim);
    const double alpha = FactorOr(scaling, "alpha", 1);
    rope.theta *= std::pow(alpha, channels / (channels - 2));
    if (!std::isfinite(rope.theta)) {
      scaling.Fail("alpha", fmt::format("found {} for heads of {} channels, expected more channels",
                                        alpha, context.head_dim));
    }
  } else if (type == "linear") {
    rope.type = RopeType::kLinear;
    rope.factor = FactorOf(scaling);
  } else if (type == "llama3") {
    rope.type = RopeType::kLlama3;
    ReadLlama3(scaling, rope);
  } else if (type == "yarn") {
    rope.type = RopeType::kYarn;
    ReadYarn(scaling, rope, context);
  } else if (type == "longrope" || type == "su") {  // its older name
    rope.type = RopeType::kLongRope;
    ReadLongRope(scaling, rope, context);
  } else {
    scaling.Fail(type_key, fmt::format("found \"{}\", expected \"default\", \"linear\", "
                                       "\"dynamic\" without alpha, \"llama3\", \"yarn\" or "
                                       "\"longrope\"",
                                       type));
  }
}

int64_t ReadRotaryDim(JsonFields& fields, const RopeContext& context) {
  constexpr std::string_view kKey = "partial_rotary_factor";
  const double factor = NumberOr(fields, kKey, context.default_rotary_part, 0, 1);
  if (factor == 1) return context.head_dim;
  if (context.part == RotaryPart::kWhole) {
    fields.Fail(kKey, fmt::format("found {}, expected 1 for this architecture", factor));
  }
  const bool is_part = factor > 0 && factor < 1;  // else the product may not fit
  const auto channels =
      is_part ? static_cast<int64_t>(static_cast<double>(context.head_dim) * factor) : 0;
  if (channels <= 0 || channels % 2 != 0) {
    fields.Fail(kKey, fmt::format("found {}, expected an even number of the {} channels of a head",
                                  factor, context.head_dim));
  }
  return channels;
}

void ReadTheta(JsonFields& fields, std::string_view key, RopeConfig& rope) {
  if (fields.Has(key)) rope.theta = fields.NumberWithin(key, kLeastTheta, kMostTheta);
}

// `parameters`: a base and its scaling in one object, as transformers 5 writes it.
void ReadParameters(JsonFields& config, JsonFields& parameters, const RopeContext& context,
                    RopeConfig& rope) {
  if (parameters.Has("partial_rotary_factor")) rope.rotary_dim = ReadRotaryDim(parameters, context);
  ReadTheta(parameters, "rope_theta", rope);
  ReadScaling(config, parameters, context, rope);
}

// The object that describes the rotation. An empty rope_scaling counts as none.
std::optional<std::string_view> PlaceOfParameters(JsonFields& config) {
  for (const std::string_view key : {"rope_scaling", "rope_parameters"}) {
    if (config.Has(key) && !config.Object(key).Keys().empty()) return key;
  }
  return std::nullopt;
}

void RefuseLayerTypes(JsonFields& config, std::string_view place, JsonFields& parameters) {
  if (!parameters.Has("full_attention") && !parameters.Has("sliding_attention")) return;
  config.Fail(place, "found parameters by layer type, expected one set for this architecture");
}

}  // namespace

RopeConfig ReadRope(JsonFields& config, const RopeContext& context) {
  RopeConfig rope;
  rope.theta = context.default_theta;
  rope.rotary_dim = ReadRotaryDim(config, context);
  ReadTheta(config, "rope_theta", rope);
  if (const auto place = PlaceOfParameters(config)) {
    JsonFields parameters = config.Object(*place);
    RefuseLayerTypes(config, *place, parameters);
    ReadParameters(config, parameters, context, rope);
  }
  return rope;
}

LayerTypeRopes ReadLayerTypeRopes(JsonFields& config, const RopeContext& context,
                                  const LocalRopeContext& local_context) {
  RopeConfig local;
  local.theta = local_context.default_theta;
  local.rotary_dim = ReadRotaryDim(config, context);
  RopeConfig full = local;
  if (local_context.has_own_base) {
    ReadTheta(config, "rope_local_base_freq", local);
  } else if (config.Has("rope_parameters") && config.Has("rope_theta")) {
    // Which layers that base is for depends on what the parameters leave out.
    config.Fail("rope_theta", "found it beside rope_parameters, expected one of them");
  }
  full.theta = context.default_theta;
  ReadTheta(config, "rope_theta", full);
  Json full_parameters = Json::object();
  if (config.Has("rope_parameters")) {
    JsonFields by_type = config.Object("rope_parameters");
    for (const std::string& key : by_type.Keys()) {
      if (key != "full_attention" && key != "sliding_attention") {
        by_type.Fail(key,
                     "found it beside the layer types, expected \"full_attention\" and "
                     "\"sliding_attention\" alone");
      }
    }
    if (by_type.Has("full_attention")) full_parameters = by_type.Value("full_attention");
    if (by_type.Has("sliding_attention")) {
      JsonFields parameters = by_type.Object("sliding_attention");
      ReadParameters(config, parameters, context, local);
    }
  }
  if (config.Has("rope_scaling")) {
    JsonFields scaling = config.Object("rope_scaling");
    // transformers adds these to parameters that say "rope_type", before which "type" is nothing.
    if (scaling.Has("type") && !scaling.Has("rope_type")) {
      scaling.Fail("type", fmt::format("found \"{}\", expected it as \"rope_type\", as this "
                                       "architecture reads no other",
                                       scaling.String("type")));
    }
    for (const std::string& key : scaling.Keys()) full_parameters[key] = scaling.Value(key);
  }
  JsonFields parameters(full_parameters, config.where() + ": rotary parameters of full layers");
  ReadParameters(config, parameters, context, full);
  return {full, local};
}

}  // namespace kvtune
