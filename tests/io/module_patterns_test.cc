#include "lib/io/module_patterns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/base/error.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

bool Names(const std::string& pattern, const std::string& module) {
  return ModulePatterns({pattern}, "f").Name(module);
}

TEST(ModulePatterns, NameModulesByWholePartsOfTheirNames) {
  EXPECT_TRUE(Names("lm_head", "lm_head"));
  EXPECT_TRUE(Names("model.layers.1", "model.layers.1.mlp.up_proj"));
  EXPECT_FALSE(Names("model.layers.1", "model.layers.10.mlp.up_proj"));
  EXPECT_TRUE(Names("gate", "model.layers.0.mlp.gate"));
  EXPECT_FALSE(Names("gate", "model.layers.0.mlp.up_gate"));
  EXPECT_FALSE(ModulePatterns().Name("lm_head"));
}

TEST(ModulePatterns, HaveWildcards) {
  EXPECT_TRUE(Names("model.layers.*.self_attn", "model.layers.3.self_attn.q_proj"));
  EXPECT_FALSE(Names("model.layers.*.self_attn", "model.layers.3.mlp.up_proj"));
  EXPECT_TRUE(Names("model.layers.[0-4]", "model.layers.3.mlp"));
  EXPECT_TRUE(Names("*", "lm_head"));
}

TEST(ModulePatterns, ExpressionsMatchTheBeginning) {
  EXPECT_TRUE(Names("re:.*mlp\\.gate$", "model.layers.3.mlp.gate"));
  EXPECT_FALSE(Names("re:mlp", "model.layers.3.mlp.gate"));
  EXPECT_TRUE(Names("re:^(?!.*experts).*$", "model.layers.3.mlp.gate"));
}

TEST(ModulePatterns, AnExpressionThatRunsAwayIsAnError) {
  const std::string module = std::string(60, 'a') + "!";
  EXPECT_THAT([&] { Names("re:(?:a|a|aa)+[^a]{2}", module); },
              ThrowsMessage<Error>(HasSubstr("modules that are not quantized at byte 0: retry")));
  EXPECT_FALSE(Names("*a*a*a*a*a*a*a*a*a*a*a*a*a*b", module));
}

TEST(ModulePatterns, WhatIsTooDeepOrTooLongIsRefused) {
  const std::string deep = "re:" + std::string(900, '(') + "a" + std::string(900, ')');
  EXPECT_THAT([&] { Names(deep, "a"); },
              ThrowsMessage<Error>(HasSubstr("f: found the regular expression \"re:((((")));
  for (const char* beginning : {"re:", "*", ""}) {
    EXPECT_THAT([&] { Names(beginning + std::string(100'000, 'a'), "a"); },
                ThrowsMessage<Error>(HasSubstr("f: found a pattern of 10000")));
  }
}

}  // namespace
}  // namespace kvtune
