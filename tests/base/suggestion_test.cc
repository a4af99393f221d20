#include "lib/base/suggestion.h"

#include <gtest/gtest.h>

#include <vector>

namespace kvtune {
namespace {

const std::vector<std::string> kTargets = {"kvtuner", "vllm", "sglang", "sglang-per-layer",
                                           "llama.cpp"};

TEST(Suggestion, TakesTheFewestLetterChanges) {
  EXPECT_EQ(ClosestWord("vlm", kTargets), "vllm");
  EXPECT_EQ(ClosestWord("llamacpp", kTargets), "llama.cpp");
  EXPECT_EQ(ClosestWord("VLLM", kTargets), "vllm");
  EXPECT_EQ(ClosestWord("tensorflow", kTargets), "");
}

TEST(Suggestion, CompletesWhatIsCutShort) {
  const std::vector<std::string> formats = {"int8_per_token_head", "fp8_per_token_head", "fp8_e4m3",
                                            "fp8_e5m2", "nvfp4"};
  EXPECT_EQ(ClosestWord("fp8", formats), "fp8_e4m3");
  EXPECT_EQ(ClosestWord("f", formats), "");  // too short to say anything
  EXPECT_EQ(ClosestWord("kvtun", kTargets), "kvtuner");
}

TEST(Suggestion, OneWrongLetterGoesBeforeACompletion) {
  const std::vector<std::string> words = {"list", "lists-of-plans"};
  EXPECT_EQ(ClosestWord("lists", words), "list");
}

TEST(Suggestion, DidYouMeanIsEmptyWithoutOne) {
  EXPECT_EQ(DidYouMean("vlm", kTargets), " (did you mean \"vllm\"?)");
  EXPECT_EQ(DidYouMean("xylophone", kTargets), "");
}

}  // namespace
}  // namespace kvtune
