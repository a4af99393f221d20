#include "lib/tokenizer/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"

namespace kvtune::tokenizer {
namespace {

// This is far above any vocabulary in use. It keeps a mistyped id from allocating gigabytes.
constexpr int64_t kIdLimit = int64_t{1} << 24;

}  // namespace

Vocabulary::Vocabulary(std::vector<std::pair<std::string, int64_t>> entries,
                       const std::string& where) {
  int64_t id_end = 0;
  // Ids may have gaps, but a few tokens must not take the memory of millions.
  const int64_t limit = std::min(kIdLimit, 65536 + 64 * static_cast<int64_t>(entries.size()));
  for (const auto& [token, id] : entries) {
    if (id < 0 || id >= limit) {
      throw Error(fmt::format("{}: found the id {} for the token \"{}\", expected 0 to {}", where,
                              id, token, limit - 1));
    }
    id_end = std::max(id_end, id + 1);
  }
  tokens_.resize(static_cast<size_t>(id_end));
  ids_.reserve(entries.size());
  std::vector<bool> is_taken(tokens_.size());
  for (std::pair<std::string, int64_t>& entry : entries) {
    const int64_t id = entry.second;
    const auto index = static_cast<size_t>(id);
    if (is_taken[index]) {
      throw Error(fmt::format(
          "{}: found the id {} for the tokens \"{}\" and \"{}\", expected one token for an id",
          where, id, tokens_[index], entry.first));
    }
    is_taken[index] = true;
    tokens_[index] = std::move(entry.first);
    if (!ids_.emplace(tokens_[index], static_cast<int32_t>(id)).second) {
      throw Error(
          fmt::format("{}: found the token \"{}\" twice, expected it once", where, tokens_[index]));
    }
  }
}

int32_t Vocabulary::IdOf(std::string_view token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? kNone : found->second;
}

const std::string* Vocabulary::TokenOf(int32_t id) const {
  if (id < 0 || id >= id_end()) return nullptr;
  const std::string& token = tokens_[static_cast<size_t>(id)];
  // A gap in the ids looks like the empty token, which may exist under another id.
  return token.empty() && IdOf(token) != id ? nullptr : &token;
}

}  // namespace kvtune::tokenizer
