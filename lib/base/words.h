// A choice that a user names by a word: one table of words and values, from which the command line,
// files and help texts all take them.
//
//   inline constexpr Word<Algorithm> kAlgorithmWords[] = {{"nsga2", Algorithm::kNsga2}, ...};
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

template <typename E>
struct Word {
  std::string_view word;
  E value;
};

// The words of a table in its order, for help texts.
template <typename Table>
std::vector<std::string> WordsOf(const Table& table) {
  std::vector<std::string> words;
  for (const auto& entry : table) words.emplace_back(entry.word);
  return words;
}

// The first word of the value. REQUIRES: the table has one.
template <typename Table, typename E>
constexpr std::string_view WordOf(const Table& table, E value) {
  for (const auto& entry : table) {
    if (entry.value == value) return entry.word;
  }
  throw std::logic_error("WordOf: found a value without a word, expected one for every value");
}

// Throws Error (kUsage): `what`, a name of the choice or of what was being done, the word that was
// found and those that were expected.
[[noreturn]] void FailForUnknownWord(std::string_view what, std::string_view word,
                                     const std::vector<std::string>& expected);

// Throws Error (kUsage) for a word that the table does not have: "what: found "word", expected one
// of nsga2, moead".
template <typename Table>
auto ValueOf(const Table& table, std::string_view word, std::string_view what) {
  for (const auto& entry : table) {
    if (entry.word == word) return entry.value;
  }
  FailForUnknownWord(what, word, WordsOf(table));
}

}  // namespace kvtune
