#include "lib/gate/measurement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/base/statistics.h"
#include "tests/gate/gate_test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

Measurement ReadBack(const Json& json) { return MeasurementFromJson(JsonFields(json, "measured")); }

TEST(Measurement, SumsAndKeepsTheLargest) {
  const PromptScore prompt = WithTailOnly({.tokens = 3,
                                           .kl_sum = 3.5,
                                           .nll_sum = 1.25,
                                           .exact_nll_sum = 1,
                                           .top1_matches = 2,
                                           .token_kl = {0.5F, 2, 1}},
                                          2);
  EXPECT_EQ(prompt.tokens, 3);
  EXPECT_EQ(prompt.kl_sum, 3.5);
  EXPECT_THAT(prompt.token_kl, ElementsAre(2, 1));
  const Measurement measured{.bytes_per_token = 7, .prompts = {prompt}};
  EXPECT_EQ(ValueOf(measured, Metric::kKlMean), 3.5 / 3);
  EXPECT_EQ(ValueOf(measured, Metric::kDeltaNll), 0.25 / 3);
  EXPECT_EQ(ValueOf(measured, Metric::kTop1Agreement), 2.0 / 3);
  EXPECT_EQ(ValueOf(measured, Metric::kBytesPerToken), 7);
}

TEST(Measurement, AnswersAreReadBackAndNothingElse) {
  const Measurement measured = AnsweredMeasurement(4, 3);
  EXPECT_EQ(ValueOf(measured, Metric::kAccuracy), 0.75);
  Json json = ToJson(measured);
  EXPECT_EQ(json["answers"], "1110");
  EXPECT_EQ(ReadBack(json).answers, measured.answers);
  for (const char* text : {"", "01x1"}) {
    json["answers"] = text;
    EXPECT_THAT([&] { ReadBack(json); },
                ThrowsMessage<Error>(HasSubstr("expected one 0 or 1 for each item")));
  }
  json.erase("answers");
  EXPECT_TRUE(ReadBack(json).answers.empty());
  EXPECT_EQ(MetricsOf(ReadBack(json)).size(), MetricsOf(measured).size() - 1);
}

// The tails alone give what all tokens would, whichever prompts are drawn.
TEST(Measurement, PercentileOfTheTailsIsThatOfAllTokens) {
  Random random(5);
  std::vector<std::vector<float>> token_kl;
  std::vector<int64_t> tokens;
  for (const size_t count : {900u, 1500u, 40u, 2000u}) {
    token_kl.emplace_back();
    for (size_t i = 0; i < count; ++i) token_kl.back().push_back(static_cast<float>(random.Unit()));
    tokens.push_back(static_cast<int64_t>(count));
  }
  Measurement measured;
  for (const std::vector<float>& kl : token_kl)
    measured.prompts.push_back(WithTailOnly(
        {.tokens = static_cast<int64_t>(kl.size()), .token_kl = kl}, TailLength(tokens)));
  for (int repeat = 0; repeat < 100; ++repeat) {
    std::vector<size_t> drawn;
    std::vector<double> all;
    for (size_t i = 0; i < 4; ++i) {
      drawn.push_back(random.Below(4));
      all.insert(all.end(), token_kl[drawn.back()].begin(), token_kl[drawn.back()].end());
    }
    EXPECT_NEAR(ValueOver(measured, Metric::kKlP999, drawn), Quantile(all, 0.999), 1e-12);
  }
}

TEST(Measurement, ReadsBack) {
  const Json json = ToJson(EvenMeasurement({0.1F, 0.2F}));
  EXPECT_EQ(ToJson(ReadBack(json)), json);
}

TEST(Measurement, RefusesWhatCannotBe) {
  const auto with = [](const char* key, const Json& value) {
    Json json = ToJson(EvenMeasurement({0.1F}));
    json["prompts"][0][key] = value;
    return [json] { ReadBack(json); };
  };
  EXPECT_THAT(with("tokens", 0),
              ThrowsMessage<Error>(HasSubstr("\"tokens\": found 0, expected at least 1")));
  EXPECT_THAT(with("tokens", 1),  // which is a number of tokens, but of fewer matches
              ThrowsMessage<Error>(HasSubstr("\"top1_matches\": found 9, expected 0 to 1")));
  EXPECT_THAT(with("top1_matches", 11),
              ThrowsMessage<Error>(HasSubstr("found 11, expected 0 to 10")));
  EXPECT_THAT(with("kl_tail", {0.1, 0.2, 0.3}),
              ThrowsMessage<Error>(HasSubstr("expected the largest first")));
  EXPECT_THAT(with("kl_tail", {0.1}),
              ThrowsMessage<Error>(HasSubstr("found 1 values in kl_tail of prompt 0, expected 3")));
  EXPECT_THAT(with("extra", 1), ThrowsMessage<Error>(HasSubstr("unknown key \"extra\"")));
  EXPECT_THAT(
      [] {
        ReadBack({{"bytes_per_token", 1}, {"prompts", Json::array()}});
      },
      ThrowsMessage<Error>(HasSubstr("found none, expected one entry a prompt")));
}

// The prompt has 10 tokens: 1e6 nats each at most, and rounding of 1e-6 below 0.
TEST(Measurement, TakesNumbersAtTheEndsOfTheirRanges) {
  const auto with = [](const Json& changes) {
    Json json = ToJson(EvenMeasurement({0.1F}));
    json["prompts"][0]["kl_tail"] = {0, 0, 0};
    json.merge_patch(changes.contains("bytes_per_token") ? changes : Json::object());
    if (!changes.contains("bytes_per_token")) json["prompts"][0].merge_patch(changes);
    try {
      ReadBack(json);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  EXPECT_TRUE(with({{"top1_matches", 0}}));
  EXPECT_TRUE(with({{"top1_matches", 10}}));
  EXPECT_FALSE(with({{"top1_matches", -1}}));
  EXPECT_TRUE(with({{"kl_sum", 1e7}}));
  EXPECT_FALSE(with({{"kl_sum", 1.0001e7}}));
  EXPECT_TRUE(with({{"kl_sum", -0.9e-5}}));
  EXPECT_FALSE(with({{"kl_sum", -1.1e-5}}));
  for (const double sign : {-1.0, 1.0}) {
    EXPECT_TRUE(with({{"delta_nll_sum", sign * 1e7}}));
    EXPECT_FALSE(with({{"delta_nll_sum", sign * 1.0001e7}}));
  }
  EXPECT_TRUE(with({{"kl_sum", 3}, {"kl_tail", {1, 1, 1}}}));
  // A sum of a tail may be larger by rounding: 1e-5 of all and 1e-6 a token.
  EXPECT_TRUE(with({{"kl_sum", 3}, {"kl_tail", {1.00003, 1, 1}}}));
  EXPECT_FALSE(with({{"kl_sum", 3}, {"kl_tail", {1.00005, 1, 1}}}));
  EXPECT_TRUE(with({{"bytes_per_token", 1e15}}));
  EXPECT_FALSE(with({{"bytes_per_token", 1.0001e15}}));
  EXPECT_TRUE(with({{"bytes_per_token", 1e-300}}));
}

TEST(Measurement, TailsAreLongEnoughForTheLongestPromptDrawnEveryTime) {
  EXPECT_EQ(TailLength(std::vector<int64_t>{}), 2u);
  EXPECT_EQ(TailLength(std::vector<int64_t>{10}), 3u);
  EXPECT_EQ(TailLength(std::vector<int64_t>{500, 999}), 4u);
  EXPECT_EQ(TailLength(std::vector<int64_t>{500, 1001}), 5u);
}

// 3 of 10 tokens make the tail of this prompt.
TEST(Measurement, RefusesNumbersOutOfRange) {
  const auto with = [](const char* key, const Json& value) {
    Json json = ToJson(EvenMeasurement({0.1F}));
    (json.contains(key) ? json : json["prompts"][0])[key] = value;
    return [json] { ReadBack(json); };
  };
  EXPECT_THAT(with("tokens", INT64_MAX),
              ThrowsMessage<Error>(HasSubstr("\"tokens\": found 9223372036854775807, expected at "
                                             "most 1099511627776")));
  // The most tokens that there may be are refused for their short tail alone.
  EXPECT_THAT(with("tokens", int64_t{1} << 40),
              ThrowsMessage<Error>(HasSubstr("found 3 values in kl_tail of prompt 0")));
  EXPECT_THAT(with("tokens", (int64_t{1} << 40) + 1),
              ThrowsMessage<Error>(HasSubstr("expected at most 1099511627776")));
  EXPECT_THAT(with("kl_sum", -1), ThrowsMessage<Error>(HasSubstr("\"kl_sum\": found -1")));
  EXPECT_THAT(with("kl_sum", 1e308), ThrowsMessage<Error>(HasSubstr("\"kl_sum\": found 1e+308")));
  EXPECT_THAT(with("delta_nll_sum", -1e308),
              ThrowsMessage<Error>(HasSubstr("\"delta_nll_sum\": found -1e+308")));
  EXPECT_THAT(with("kl_tail", {0.1, 0.1, -0.1}),
              ThrowsMessage<Error>(HasSubstr("\"kl_tail\": found -0.1")));
  EXPECT_THAT(with("kl_tail", {0.5, 0.4, 0.2}),
              ThrowsMessage<Error>(HasSubstr("expected at most the 1")));
  EXPECT_NO_THROW(with("kl_tail", {0.5, 0.3, 0.2})());
  for (const double bytes : {0.0, -1.0, 1e308}) {
    EXPECT_THAT(with("bytes_per_token", bytes),
                ThrowsMessage<Error>(HasSubstr("\"bytes_per_token\": found")));
  }
}

}  // namespace
}  // namespace kvtune
