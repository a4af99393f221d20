// Small tokenizer.json texts for tests: every part has a default, a test sets the one that it is
// about.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/json_fields.h"
#include "lib/tokenizer/tokenizer.h"

namespace kvtune::tokenizer {

// The ids of a..e are 0..4; "ab" and "abc" are 5 and 6; U+2581 is 7.
struct TokenizerText {
  std::string normalizer = "null";
  std::string pre_tokenizer = "null";
  std::string post_processor = "null";
  std::string decoder = "null";
  std::string added_tokens = "[]";
  std::string vocab = R"({"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "ab": 5, "abc": 6, "▁": 7})";
  std::string merges = R"(["a b", "ab c"])";
  std::string options;  // of the model, for example R"(, "unk_token": "a")"

  std::string Json() const {
    return R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": )" +
           added_tokens + R"(, "normalizer": )" + normalizer + R"(, "pre_tokenizer": )" +
           pre_tokenizer + R"(, "post_processor": )" + post_processor + R"(, "decoder": )" +
           decoder + R"(, "model": {"type": "BPE", "vocab": )" + vocab + R"(, "merges": )" +
           merges + options + "}}";
  }
  Tokenizer Make() const { return Tokenizer::FromJson(Json(), "tokenizer.json"); }
};

// A component's configuration as its factory takes it; owns the Json.
class Config {
 public:
  explicit Config(const std::string& json) : json_(ParseJson(json, "config")) {}
  JsonFields fields() const { return JsonFields(json_, "part"); }

 private:
  kvtune::Json json_;
};

// The message of the Error that `action` throws; a failure where it throws none.
template <typename Action>
std::string ErrorOf(Action&& action) {
  try {
    std::forward<Action>(action)();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "messages are one line";
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

}  // namespace kvtune::tokenizer
