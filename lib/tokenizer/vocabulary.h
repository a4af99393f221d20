// Token texts and their ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace kvtune::tokenizer {

// The vocabulary of the model, without added tokens. Immutable.
class Vocabulary {
 public:
  // Throws Error naming `where` when a token or an id comes twice or an id is out of range.
  Vocabulary(std::vector<std::pair<std::string, int64_t>> entries, const std::string& where);
  // The index refers into `tokens_`: the address must stay.
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  static constexpr int32_t kNone = -1;

  // kNone where there is no such token.
  int32_t IdOf(std::string_view token) const;
  // Null where there is no such id.
  const std::string* TokenOf(int32_t id) const;
  // Number of tokens.
  int32_t size() const { return static_cast<int32_t>(ids_.size()); }
  // Highest id + 1; more than size() where ids have gaps.
  int32_t id_end() const { return static_cast<int32_t>(tokens_.size()); }

 private:
  std::vector<std::string> tokens_;  // by id
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace kvtune::tokenizer
