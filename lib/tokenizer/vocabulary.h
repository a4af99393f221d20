// The texts of tokens and their ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace kvtune::tokenizer {

// The vocabulary of the model without added tokens. It never changes.
class Vocabulary {
 public:
  // Throws Error, which names `where`, when a token or an id comes twice, or an id is out of range.
  Vocabulary(std::vector<std::pair<std::string, int64_t>> entries, const std::string& where);
  // Not copyable, because `ids_` refers to the texts in `tokens_`, whose address must stay.
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  static constexpr int32_t kNone = -1;

  // Returns kNone when there is no such token.
  int32_t IdOf(std::string_view token) const;
  // Returns null when there is no such id.
  const std::string* TokenOf(int32_t id) const;
  // The number of tokens.
  int32_t size() const { return static_cast<int32_t>(ids_.size()); }
  // The highest id + 1, which is more than size() when ids have gaps.
  int32_t id_end() const { return static_cast<int32_t>(tokens_.size()); }

 private:
  std::vector<std::string> tokens_;  // by id
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace kvtune::tokenizer
