#include "lib/core/accuracy_score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

AccuracyScore Example() {
  return {.task = "sums",
          .items = 200,
          .strict = 0.75,
          .flexible = 0.8,
          .standard_error = 0.0307,
          .invalid = 3,
          .tokens = 12345,
          .lost = 7,
          .gained = 2,
          .mcnemar_p = 0.1796875,
          .difference = {-0.05, 0.01},
          .items_to_decide = 900,
          .items_to_see_a_point = 3500};
}

TEST(AccuracyScore, ReadsBackWhatItWrites) {
  AccuracyScore score = Example();
  Json json = ToJson(score);
  EXPECT_EQ(json["stderr"], 0.0307);
  EXPECT_EQ(json["difference_interval"], Json({-0.05, 0.01}));
  EXPECT_EQ(AccuracyScoreFromJson(JsonFields(json, "f")), score);
  score.items_to_decide.reset();
  json = ToJson(score);
  EXPECT_TRUE(json["items_to_decide"].is_null());
  EXPECT_EQ(AccuracyScoreFromJson(JsonFields(json, "f")), score);
}

TEST(AccuracyScore, ImpossibleNumbersAreRefused) {
  const auto read = [](const char* key, const Json& value) {
    Json json = ToJson(Example());
    json[key] = value;
    return AccuracyScoreFromJson(JsonFields(json, "f"));
  };
  for (const char* share : {"strict", "flexible", "mcnemar_p"}) {
    for (const double possible : {0.0, 1.0}) EXPECT_NO_THROW(read(share, possible)) << share;
    for (const double impossible : {-0.001, 1.001}) {
      EXPECT_THAT([&] { read(share, impossible); },
                  ThrowsMessage<Error>(HasSubstr("\"" + std::string(share) + "\"")));
    }
  }
  for (const char* count : {"items", "invalid", "tokens", "lost", "gained", "items_to_decide",
                            "items_to_see_a_point"}) {
    EXPECT_THAT([&] { read(count, -1); },
                ThrowsMessage<Error>(HasSubstr("\"" + std::string(count) + "\": found -1")));
  }
  for (const char* part : {"invalid", "lost", "gained"}) {
    EXPECT_NO_THROW(read(part, 200)) << part;
    EXPECT_THAT([&] { read(part, 201); },
                ThrowsMessage<Error>(HasSubstr("found 201, expected at most the 200 items")));
  }
  EXPECT_THAT([&] { read("stderr", -0.1); }, ThrowsMessage<Error>(HasSubstr("\"stderr\"")));
  for (const Json& impossible : {Json::array({1, 0}), Json::array({0}), Json::array({0, 1, 2}),
                                 Json::array({-1.5, 0}), Json::array({0, 1.5})}) {
    EXPECT_THAT([&] { read("difference_interval", impossible); },
                ThrowsMessage<Error>(
                    HasSubstr("\"difference_interval\": found no interval, expected [low, high]")));
  }
  const Interval point = read("difference_interval", Json({0.5, 0.5})).difference;
  EXPECT_EQ(point, (Interval{0.5, 0.5}));
}

TEST(AccuracyScore, WorseIsMoreThanChance) {
  AccuracyScore score = Example();
  EXPECT_FALSE(IsWorse(score));
  score.mcnemar_p = 0.049;
  EXPECT_TRUE(IsWorse(score));
  score.mcnemar_p = 0.05;
  EXPECT_FALSE(IsWorse(score));
  score.mcnemar_p = 0.049;
  std::swap(score.lost, score.gained);
  EXPECT_FALSE(IsWorse(score));
  score.lost = score.gained;
  EXPECT_FALSE(IsWorse(score));
}

}  // namespace
}  // namespace kvtune
