#include "lib/tokenizer/word_cache.h"

#include <gtest/gtest.h>

namespace kvtune::tokenizer {
namespace {

TEST(WordCache, FindsWhatWasInserted) {
  WordCache cache;
  EXPECT_FALSE(cache.Find("a").has_value());
  const std::vector<int32_t> ids = {1, 2};
  cache.Insert("a", ids);
  cache.Insert("nothing", {});
  ASSERT_TRUE(cache.Find("a").has_value());
  EXPECT_EQ(std::vector<int32_t>(cache.Find("a")->begin(), cache.Find("a")->end()), ids);
  EXPECT_TRUE(cache.Find("nothing").has_value() && cache.Find("nothing")->empty());
  EXPECT_FALSE(cache.Find("b").has_value());
}

TEST(WordCache, StartsOverWhenFull) {
  WordCache cache;
  for (int32_t i = 0; i < 100000; ++i) {
    const std::string word = std::to_string(i);
    const std::vector<int32_t> ids = {i};
    cache.Insert(word, ids);
    ASSERT_EQ(cache.Find(word)->front(), i);
  }
  EXPECT_FALSE(cache.Find("0").has_value());
}

}  // namespace
}  // namespace kvtune::tokenizer
