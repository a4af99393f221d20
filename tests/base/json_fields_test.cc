#include "lib/base/json_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

TEST(ParseJson, MistakeHasALineAndAColumn) {
  EXPECT_THAT([] { ParseJson("{\n  \"a\": ?\n}", "run/front.json"); },
              ThrowsMessage<Error>(HasSubstr("run/front.json: not valid JSON at line 2, column ")));
  EXPECT_THAT([] { ParseJson("", "f"); },
              ThrowsMessage<Error>(HasSubstr("f: not valid JSON at line 1")));
  EXPECT_THAT([] { ParseJson("{} {}", "f"); }, ThrowsMessage<Error>(HasSubstr("not valid JSON")));
}

TEST(ParseJson, MessageIsOneLine) {
  try {
    ParseJson("{\n\"a\" 1}", "f");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(std::string(error.what()), ::testing::Not(HasSubstr("\n")));
    EXPECT_THAT(std::string(error.what()), ::testing::Not(HasSubstr("json.exception")));
  }
}

TEST(ParseJson, KeyGivenTwiceIsRefused) {
  EXPECT_THAT([] { ParseJson(R"({"a": 1, "b": {"a": 1}, "a": 2})", "f"); },
              ThrowsMessage<Error>(HasSubstr("f: found the key \"a\" twice in one object")));
  EXPECT_NO_THROW(ParseJson(R"([{"a": 1}, {"a": 2}])", "f"));
}

TEST(ParseJson, DeepNestingIsRefusedInOneLine) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += open;
    EXPECT_THAT([&] { ParseJson(text, "f"); },
                ThrowsMessage<Error>(HasSubstr("f: found values nested more than 256 deep")));
  }
  std::string allowed(200, '[');
  allowed.append(200, ']');
  EXPECT_NO_THROW(ParseJson(allowed, "f"));
}

TEST(ParseJson, NaNIsNotJson) {
  EXPECT_THAT([] { ParseJson("[NaN]", "f"); }, ThrowsMessage<Error>(HasSubstr("not valid JSON")));
}

// Every message says what was found, not only what was expected.
TEST(ParseJson, TheReasonOfAMistakeIsWhole) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[1", "unexpected end of input; expected ']'"},
      {"{\"a\" 1}", "unexpected number literal; expected ':'"},
      {"[1,]", "unexpected ']'; expected '[', '{', or a literal"},
      {"[\"\xff\"]", "invalid string: ill-formed UTF-8 byte; last read: '\"\xff'"},
      {"[\"\\ud800\"]", "must be followed by U+DC00..U+DFFF; last read: "},
      {"{} {}", "unexpected '{'; expected end of input"},
      {"[-Infinity]", "found Infinity, which JSON does not have"},
      {"[-x]", "invalid number; expected digit after '-'"},
      {"[NaN]", "found NaN, which JSON does not have"},
      {"[1e999]", "found a number that no double holds"}};
  for (const auto& [text, reason] : cases) {
    EXPECT_THAT([&] { ParseJson(text, "f"); }, ThrowsMessage<Error>(HasSubstr(reason))) << text;
  }
}

TEST(ParseJson, WhatWasReadIsCutInMessages) {
  for (const std::string& text :
       {"[\"" + std::string(100'000, 'x'),
        "{\"" + std::string(100'000, 'k') + "\": 1, \"" + std::string(100'000, 'k') + "\": 2}"}) {
    try {
      ParseJson(text, "f");
      FAIL();
    } catch (const Error& error) {
      EXPECT_LT(std::string(error.what()).size(), 300u);
    }
  }
}

TEST(ParseJson, BytesBehindANullAreNotIgnored) {
  EXPECT_THAT(
      [] { ParseJson(std::string("{}\n\0 more", 9), "f"); },
      ThrowsMessage<Error>(StrEq("f: not valid JSON at line 2, column 1: found a null byte")));
  EXPECT_THAT([] { ParseJson(std::string("[\"a\0b\"]", 7), "f"); },
              ThrowsMessage<Error>(HasSubstr("found a null byte")));
  EXPECT_FALSE(TryParseJson(std::string("{}\0", 3), "f"));
}

TEST(ParseJson, OfALineCountsItsColumnsAlone) {
  EXPECT_THAT([] { ParseJsonLine("{\"a\": ?}", "p.jsonl, line 50"); },
              ThrowsMessage<Error>(
                  StrEq("p.jsonl, line 50: not valid JSON at column 7: invalid literal; last read: "
                        "'\"a\": ?'")));
}

TEST(ParseJson, TryReturnsNothingForWhatIsNoJson) {
  EXPECT_EQ(TryParseJson("[1]", "f"), Json::array({1}));
  EXPECT_FALSE(TryParseJson("key: value", "f"));
  EXPECT_FALSE(TryParseJson("", "f"));
  EXPECT_THROW(TryParseJson(R"({"a": 1, "a": 2})", "f"), Error);
}

TEST(ParseJson, ValuesOfEveryKindComeBack) {
  const std::string text =
      R"({"b":[],"a":{"n":null,"t":true,"i":-3,"u":18446744073709551615,"f":1.5,"s":"\u00e9"},)"
      R"("c":[[1,{}],2]})";
  EXPECT_EQ(ParseJson(text, "f").dump(), Json::parse(text).dump());
  EXPECT_EQ(ParseJson(" 5 ", "f"), 5);
}

// A tensor's name is as long as these; looking each up by a search of all would take minutes.
TEST(JsonFields, ReadsAHundredThousandKeys) {
  constexpr int kKeys = 100'000;
  std::string text = "{";
  for (int i = 0; i < kKeys; ++i) {
    text += (i > 0 ? "," : "") + ("\"model.layers.mlp.experts." + std::to_string(1'000'000 + i)) +
            ".weight\":" + std::to_string(i);
  }
  const Json json = ParseJson(text + "}", "f");
  JsonFields fields(json, "f");
  const std::vector<std::string> keys = fields.Keys();
  ASSERT_THAT(keys, SizeIs(kKeys));
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(fields.Integer(keys[static_cast<size_t>(i)]), i);
  EXPECT_FALSE(fields.Has("none"));
  EXPECT_NO_THROW(fields.RequireNoOthers());
}

TEST(JsonFields, NumbersHaveBounds) {
  const Json json = ParseJson(R"({"n": 2.5, "seed": 18446744073709551615, "minus": -1})", "f");
  JsonFields fields(json, "f");
  EXPECT_EQ(fields.NumberWithin("n", 2.5, 3), 2.5);
  EXPECT_THAT([&] { fields.NumberWithin("n", 0, 2); },
              ThrowsMessage<Error>(StrEq("f: \"n\": found 2.5, expected a number from 0 to 2")));
  EXPECT_EQ(fields.IntegerFrom("minus", -1), -1);
  EXPECT_THAT(
      [&] { fields.IntegerFrom("minus", 0); },
      ThrowsMessage<Error>(HasSubstr("\"minus\": found -1, expected an integer from 0 to")));
  const Json wide = ParseJson(R"({"most": 9007199254740992, "more": 9007199254740993})", "f");
  JsonFields of_wide(wide, "f");
  EXPECT_EQ(of_wide.IntegerFrom("most", 0), int64_t{1} << 53);
  EXPECT_THAT([&] { of_wide.IntegerFrom("more", 0); },
              ThrowsMessage<Error>(HasSubstr("\"more\": found 9007199254740993, expected")));
  EXPECT_EQ(fields.Unsigned("seed"), UINT64_MAX);
  EXPECT_THAT([&] { fields.Unsigned("minus"); },
              ThrowsMessage<Error>(HasSubstr("found -1, expected an integer from 0 to 2^64 - 1")));
}

TEST(DumpJson, KeysKeepTheirOrderAndTheTextEndsInANewline) {
  const Json json = {{"b", 1}, {"a", {1.5, "x"}}};
  EXPECT_EQ(DumpJson(json), "{\n  \"b\": 1,\n  \"a\": [\n    1.5,\n    \"x\"\n  ]\n}\n");
}

TEST(DumpJson, FloatsReadBackEqual) {
  for (const double value :
       {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789012345680.0}) {
    const Json read = ParseJson(DumpJson(Json::array({value})), "f");
    EXPECT_EQ(read[0].get<double>(), value);
    EXPECT_TRUE(read[0].is_number_float());
  }
}

TEST(JsonFile, WrittenFileReadsBack) {
  const TemporaryDirectory directory;
  const Json json = {{"a", 1}};
  WriteJsonFileAtomically(directory / "a.json", json);
  EXPECT_EQ(ReadJsonFile(directory / "a.json"), json);
  EXPECT_THAT([&] { ReadJsonFile(directory / "none.json"); },
              ThrowsMessage<Error>(HasSubstr("none.json: No such file or directory")));
}

TEST(JsonFields, GettersReturnWhatIsThere) {
  const Json json = ParseJson(R"({"s": "x", "b": true, "i": -3, "n": 2, "ss": ["a", "b"],)"
                              R"("is": [1, 2], "ns": [1, 2.5], "o": {"k": 1},)"
                              R"("os": [{"k": 1}, {"k": 2}], "null": null})",
                              "f");
  JsonFields fields(json, "f");
  EXPECT_EQ(fields.String("s"), "x");
  EXPECT_TRUE(fields.Bool("b"));
  EXPECT_EQ(fields.Integer("i"), -3);
  EXPECT_EQ(fields.Number("n"), 2.0);
  EXPECT_THAT(fields.Strings("ss"), ElementsAre("a", "b"));
  EXPECT_THAT(fields.Integers("is"), ElementsAre(1, 2));
  EXPECT_THAT(fields.Numbers("ns"), ElementsAre(1, 2.5));
  EXPECT_EQ(fields.Object("o").Integer("k"), 1);
  EXPECT_THAT(fields.Objects("os"), SizeIs(2));
  EXPECT_FALSE(fields.Has("null"));
  EXPECT_FALSE(fields.Has("none"));
  EXPECT_TRUE(fields.Has("s"));
  EXPECT_THAT(fields.Keys(), SizeIs(10));
  EXPECT_THAT([&] { fields.RequireNoOthers(); },
              ThrowsMessage<Error>(HasSubstr("the unknown key \"null\"")));
  fields.Ignore("null");
  EXPECT_NO_THROW(fields.RequireNoOthers());
}

TEST(JsonFields, WrongTypesNameWhatWasFoundAndExpected) {
  const Json json = ParseJson(R"({"x": [1, "two"], "f": 1.5, "o": {}, "s": "text"})", "f");
  JsonFields fields(json, "f");
  const std::vector<std::pair<std::function<void()>, std::string>> cases = {
      {[&] { fields.String("x"); }, "f: \"x\": found [1,\"two\"], expected a string"},
      {[&] { fields.Bool("f"); }, "f: \"f\": found 1.5, expected true or false"},
      {[&] { fields.Integer("f"); }, "f: \"f\": found 1.5, expected an integer"},
      {[&] { fields.Number("s"); }, "f: \"s\": found \"text\", expected a number"},
      {[&] { fields.Strings("x"); }, "f: \"x\": found [1,\"two\"], expected an array of strings"},
      {[&] { fields.Integers("x"); }, "f: \"x\": found [1,\"two\"], expected an array of integers"},
      {[&] { fields.Numbers("o"); }, "f: \"o\": found {}, expected an array of numbers"},
      {[&] { fields.Object("x"); }, "f: x: found [1,\"two\"], expected a JSON object"},
      {[&] { fields.Objects("o"); }, "f: \"o\": found {}, expected an array of objects"},
      {[&] { fields.Objects("x"); }, "f: x[0]: found 1, expected a JSON object"},
      {[&] { fields.Value("none"); }, "f: \"none\": found nothing, expected a value"},
      {[&] { fields.Number("none"); }, "f: \"none\": found nothing, expected a number"}};
  for (const auto& [read, message] : cases) {
    EXPECT_THAT(read, ThrowsMessage<Error>(StrEq(message)));
  }
}

TEST(JsonFields, UnknownKeyNamesThoseThatAreKnown) {
  const Json json = {{"known", 1}, {"knwon", 2}};
  JsonFields fields(json, "f");
  fields.Integer("known");
  EXPECT_THAT(
      [&] { fields.RequireNoOthers(); },
      ThrowsMessage<Error>(StrEq("f: found the unknown key \"knwon\", expected only known")));
}

TEST(JsonFields, NestedObjectsNameTheirPath) {
  const Json json = ParseJson(R"({"plans": [{"cost": {}}]})", "f");
  JsonFields fields(json, "f");
  EXPECT_EQ(fields.Objects("plans")[0].Object("cost").where(), "f: plans[0]: cost");
}

TEST(JsonFields, LongValuesAreCutInMessages) {
  const Json json = {{"s", std::string(500, 'x')}};
  JsonFields fields(json, "f");
  try {
    fields.Number("s");
    FAIL();
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 120u);
  }
}

}  // namespace
}  // namespace kvtune
