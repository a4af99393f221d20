#include "lib/base/words.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "lib/base/error.h"

namespace kvtune {
namespace {

enum class Fruit { kApple, kPear, kQuince };
constexpr Word<Fruit> kFruitWords[] = {{"apple", Fruit::kApple}, {"pear", Fruit::kPear}};

TEST(Words, GoesBothWays) {
  static_assert(WordOf(kFruitWords, Fruit::kPear) == "pear");
  for (const auto& [word, value] : kFruitWords) {
    EXPECT_EQ(WordOf(kFruitWords, value), word);
    EXPECT_EQ(ValueOf(kFruitWords, word, "choosing a fruit"), value);
  }
}

TEST(Words, ListsTheWordsInTheOrderOfTheTable) {
  EXPECT_EQ(WordsOf(kFruitWords), (std::vector<std::string>{"apple", "pear"}));
}

TEST(Words, AnUnknownWordIsAMistakeOfTheUser) {
  try {
    ValueOf(kFruitWords, "Apple", "choosing a fruit");
    FAIL() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kUsage);
    EXPECT_STREQ(error.what(),
                 "choosing a fruit: found \"Apple\" (did you mean \"apple\"?), expected one of "
                 "apple, pear");
  }
}

TEST(Words, AValueWithoutAWordIsOurs) {
  EXPECT_THROW(WordOf(kFruitWords, Fruit::kQuince), std::logic_error);
}

}  // namespace
}  // namespace kvtune
