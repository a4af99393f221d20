#include "lib/core/rope_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr RopeContext kContext = {
    .head_dim = 8, .max_position_embeddings = 64, .part = RotaryPart::kPartial};

RopeConfig Read(const Json& config, const RopeContext& context = kContext) {
  JsonFields fields(config, "config.json");
  return ReadRope(fields, context);
}

auto Reading(const Json& config) {
  return [config] { Read(config); };
}

Json Llama3Rope() {
  return {{"rope_type", "llama3"},
          {"factor", 8.0},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4},
          {"original_max_position_embeddings", 8192}};
}

Json LongRope() {
  return {{"rope_type", "longrope"}, {"short_factor", {1, 2, 3, 4}}, {"long_factor", {5, 6, 7, 8}}};
}

TEST(RopeConfig, BothSpellingsOfTheFieldsAreRead) {
  EXPECT_EQ(Read({{"rope_theta", 500000}}).theta, 500000);
  EXPECT_EQ(Read({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}}}}).theta,
            1e6);
  // A newer file may keep the base where older ones have it.
  EXPECT_EQ(Read({{"rope_theta", 2e4}, {"rope_parameters", {{"rope_type", "default"}}}}).theta,
            2e4);

  Json parameters = Llama3Rope();
  parameters["rope_theta"] = 5e5;
  Json old_type = Llama3Rope();
  old_type.erase("rope_type");
  old_type["type"] = "llama3";
  const Json spellings[] = {{{"rope_theta", 5e5}, {"rope_scaling", Llama3Rope()}},
                            {{"rope_theta", 5e5}, {"rope_scaling", old_type}},
                            {{"rope_parameters", parameters}}};
  for (const Json& spelling : spellings) {
    const RopeConfig rope = Read(spelling);
    EXPECT_EQ(rope.type, RopeType::kLlama3) << spelling;
    EXPECT_EQ(rope.theta, 5e5);
    EXPECT_EQ(rope.factor, 8);
    EXPECT_EQ(rope.low_freq_factor, 1);
    EXPECT_EQ(rope.high_freq_factor, 4);
    EXPECT_EQ(rope.original_max_position_embeddings, 8192);
  }
}

// As transformers: all of rope_parameters gives way, its base too.
TEST(RopeConfig, RopeScalingTakesThePlaceOfRopeParameters) {
  Json config = {{"rope_scaling", Llama3Rope()},
                 {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e6}}}};
  EXPECT_EQ(Read(config).type, RopeType::kLlama3);
  EXPECT_EQ(Read(config).theta, 10000);
  config["rope_theta"] = 2e4;
  EXPECT_EQ(Read(config).theta, 2e4);
  config["rope_scaling"]["rope_theta"] = 3e4;
  EXPECT_EQ(Read(config).theta, 3e4);
  config["rope_scaling"] = Json::object();
  EXPECT_EQ(Read(config).type, RopeType::kDefault);
  EXPECT_EQ(Read(config).theta, 1e6);
}

TEST(RopeConfig, TypesOfSomeFamiliesOnly) {
  const Json sections = {{"rope_scaling", {{"type", "mrope"}, {"mrope_section", {1, 1, 2}}}}};
  const Json alpha = {{"rope_scaling", {{"type", "dynamic"}, {"alpha", 16.0}, {"factor", 1.0}}}};
  RopeContext context = kContext;
  context.has_sections = context.has_alpha = true;
  EXPECT_EQ(Read(sections, context).type, RopeType::kDefault);
  EXPECT_DOUBLE_EQ(Read(alpha, context).theta, 10000 * std::pow(16.0, 8.0 / 6.0));
  EXPECT_THROW(Read(sections), Error);
  EXPECT_THROW(Read(alpha), Error);
}

TEST(RopeConfig, DefaultsAreTheFamilys) {
  const RopeConfig rope =
      Read({{"other", 1}}, {.default_theta = 5e5, .head_dim = 8, .max_position_embeddings = 64});
  EXPECT_EQ(rope.theta, 5e5);
  EXPECT_EQ(rope.rotary_dim, 8);
  EXPECT_EQ(rope.attention_factor, 1);
}

TEST(RopeConfig, LinearScalesAndDynamicChangesNothing) {
  const RopeConfig linear = Read({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}});
  EXPECT_EQ(linear.type, RopeType::kLinear);
  EXPECT_EQ(linear.factor, 2);
  // Within the context it changes nothing.
  EXPECT_EQ(Read({{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}), Read({{"other", 1}}));
  EXPECT_THAT(Reading({{"rope_scaling", {{"type", "dynamic"}, {"alpha", 1000.0}}}}),
              ThrowsMessage<Error>(HasSubstr("\"type\": found \"dynamic\", expected")));
}

TEST(RopeConfig, YarnDerivesWhatIsLeftOut) {
  const RopeConfig rope = Read({{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}});
  EXPECT_EQ(rope.type, RopeType::kYarn);
  EXPECT_EQ(rope.original_max_position_embeddings, 64);
  EXPECT_TRUE(rope.truncated);
  EXPECT_DOUBLE_EQ(rope.attention_factor, 0.1 * std::log(4.0) + 1);
  // Without a factor: the ratio of the contexts. With both scales: their ratio.
  const RopeConfig other = Read({{"rope_scaling",
                                  {{"type", "yarn"},
                                   {"original_max_position_embeddings", 32},
                                   {"truncate", false},
                                   {"mscale", 2.0},
                                   {"mscale_all_dim", 1.0}}}});
  EXPECT_EQ(other.factor, 2);
  EXPECT_FALSE(other.truncated);
  EXPECT_DOUBLE_EQ(other.attention_factor, (0.2 * std::log(2.0) + 1) / (0.1 * std::log(2.0) + 1));
  // One of the two alone says nothing.
  const RopeConfig half =
      Read({{"rope_scaling",
             {{"type", "yarn"}, {"original_max_position_embeddings", 32}, {"mscale", 2.0}}}});
  EXPECT_DOUBLE_EQ(half.attention_factor, 0.1 * std::log(2.0) + 1);
  EXPECT_EQ(Read({{"rope_scaling", {{"type", "yarn"}, {"factor", 1.0}}}}).attention_factor, 1);
}

TEST(RopeConfig, LongRopeTakesTheModelsOriginalContext) {
  const RopeConfig rope =
      Read({{"rope_scaling", LongRope()}, {"original_max_position_embeddings", 16}});
  EXPECT_EQ(rope.type, RopeType::kLongRope);
  EXPECT_THAT(rope.short_factor, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(rope.long_factor, ElementsAre(5, 6, 7, 8));
  EXPECT_EQ(rope.factor, 4);
  EXPECT_DOUBLE_EQ(rope.attention_factor, std::sqrt(1 + std::log(4.0) / std::log(16.0)));
  // A context that is not extended is not scaled.
  EXPECT_EQ(Read({{"rope_scaling", LongRope()}, {"original_max_position_embeddings", 64}})
                .attention_factor,
            1);
  Json short_list = LongRope();
  short_list["long_factor"] = {1, 2};
  EXPECT_THAT(Reading({{"rope_scaling", short_list}}),
              ThrowsMessage<Error>(
                  HasSubstr("\"long_factor\": found 2 numbers, expected 4, half the rotated")));
}

TEST(RopeConfig, PartialRotationMustFitTheHead) {
  EXPECT_EQ(Read({{"partial_rotary_factor", 0.75}}).rotary_dim, 6);
  EXPECT_EQ(Read({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}).rotary_dim, 4);
  EXPECT_THAT(Reading({{"partial_rotary_factor", 1e300}}),
              ThrowsMessage<Error>(HasSubstr("found 1e+300, expected a number from 0 to 1")));
  EXPECT_THAT(Reading({{"partial_rotary_factor", 0.4}}),
              ThrowsMessage<Error>(
                  HasSubstr("found 0.4, expected an even number of the 8 channels of a head")));
  EXPECT_THAT(
      ([] {
        Read({{"partial_rotary_factor", 0.5}}, {.head_dim = 8, .max_position_embeddings = 64});
      }),
      ThrowsMessage<Error>(
          HasSubstr("\"partial_rotary_factor\": found 0.5, expected 1 for this architecture")));
}

TEST(RopeConfig, SlidingLayersMayHaveABaseOfTheirOwn) {
  const auto read = [](const Json& config) {
    JsonFields fields(config, "config.json");
    return ReadLayerTypeRopes(fields,
                              {.default_theta = 1e6, .head_dim = 8, .max_position_embeddings = 64},
                              {.default_theta = 10000});
  };
  const LayerTypeRopes old = read({{"rope_theta", 2e6},
                                   {"rope_local_base_freq", 20000},
                                   {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}});
  const LayerTypeRopes young =
      read({{"rope_parameters",
             {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 2e6}}},
              {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 20000}}}}}});
  for (const LayerTypeRopes& ropes : {old, young}) {
    EXPECT_EQ(ropes.full.type, RopeType::kLinear);
    EXPECT_EQ(ropes.full.theta, 2e6);
    EXPECT_EQ(ropes.sliding.type, RopeType::kDefault);
    EXPECT_EQ(ropes.sliding.theta, 20000);
  }
  EXPECT_EQ(read({{"other", 1}}).sliding.theta, 10000);
  EXPECT_THAT(Reading({{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}}),
              ThrowsMessage<Error>(HasSubstr("found parameters by layer type, expected one set")));
}

TEST(RopeConfig, UnknownTypesAndImpossibleParametersAreRefused) {
  EXPECT_THAT(
      Reading({{"rope_scaling", {{"type", "spiral"}, {"factor", 2.0}}}}),
      ThrowsMessage<Error>(HasSubstr("config.json: rope_scaling: \"type\": found \"spiral\", "
                                     "expected \"default\", \"linear\"")));
  EXPECT_THAT(Reading({{"rope_parameters", {{"rope_type", "mrope"}}}}),
              ThrowsMessage<Error>(HasSubstr("rope_parameters: \"rope_type\": found \"mrope\"")));
  EXPECT_THAT(
      Reading({{"rope_theta", 0}}),
      ThrowsMessage<Error>(HasSubstr("\"rope_theta\": found 0, expected a number from 2 to ")));

  Json incomplete = Llama3Rope();
  incomplete.erase("low_freq_factor");
  EXPECT_THAT(Reading({{"rope_scaling", incomplete}}),
              ThrowsMessage<Error>(HasSubstr("\"low_freq_factor\": found nothing")));
  Json swapped = Llama3Rope();
  swapped["low_freq_factor"] = 4.0;
  EXPECT_THAT(Reading({{"rope_scaling", swapped}}),
              ThrowsMessage<Error>(
                  HasSubstr("\"low_freq_factor\": found 4 and high_freq_factor 4, expected")));
  Json shrinking = Llama3Rope();
  shrinking["factor"] = 0.5;
  EXPECT_THAT(Reading({{"rope_scaling", shrinking}}),
              ThrowsMessage<Error>(
                  HasSubstr("\"factor\": found 0.5, expected a number from 1 to 1000000")));
  Json nowhere = Llama3Rope();
  nowhere["original_max_position_embeddings"] = 0;
  EXPECT_THAT(Reading({{"rope_scaling", nowhere}}),
              ThrowsMessage<Error>(HasSubstr("found 0, expected a positive integer")));
}

TEST(RopeConfig, NumbersThatNoModelHasAreRefusedByName) {
  const auto scaling = [](Json rope, const char* key, double value) {
    rope[key] = value;
    return Reading({{"rope_scaling", rope}});
  };
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
  const auto names = [](const std::string& key) {
    return ThrowsMessage<Error>(HasSubstr("\"" + key + "\": found "));
  };
  for (const double theta : {1e-300, -1.0, 1.0, 1e300}) {
    EXPECT_THAT(Reading({{"rope_theta", theta}}), names("rope_theta"));
  }
  EXPECT_THAT(scaling(Llama3Rope(), "factor", 1e300), names("factor"));
  EXPECT_THAT(scaling(Llama3Rope(), "low_freq_factor", 1e-300), names("low_freq_factor"));
  EXPECT_THAT(scaling(Llama3Rope(), "high_freq_factor", 1e300), names("high_freq_factor"));
  for (const char* key : {"beta_fast", "beta_slow", "attention_factor"}) {
    EXPECT_THAT(scaling(yarn, key, 1e300), names(key));
    EXPECT_THAT(scaling(yarn, key, 0), names(key));
  }
  EXPECT_THAT(scaling(yarn, "mscale", 1e300), names("mscale"));
  EXPECT_THAT(scaling(yarn, "original_max_position_embeddings", 1e18),
              names("original_max_position_embeddings"));
  for (const double theta : {2.0, 1e9, 1e12}) {
    EXPECT_NO_THROW(Reading({{"rope_theta", theta}})()) << theta;
  }
  // Both of the two are at least a millionth.
  Json slow = Llama3Rope();
  slow["low_freq_factor"] = 1e-6;
  slow["high_freq_factor"] = 1.5e-6;
  EXPECT_EQ(Read({{"rope_scaling", slow}}).high_freq_factor, 1.5e-6);
  EXPECT_THAT(scaling(slow, "high_freq_factor", 0.5e-6), names("high_freq_factor"));
}

}  // namespace
}  // namespace kvtune
