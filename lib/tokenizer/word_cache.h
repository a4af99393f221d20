// Remembers the ids of words that were tokenized before, because a few thousand words make up most
// text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune::tokenizer {

// Keys and ids lie in two shared buffers, so that a lookup touches no separate heap block. When the
// cache is full it starts over, which costs less than keeping an order of use. It is not
// thread-safe.
class WordCache {
 public:
  WordCache();

  // Longer words are not kept, because they hardly ever come twice.
  static constexpr size_t kMaxWordBytes = 128;

  // The ids stay valid until the next Insert.
  std::optional<std::span<const int32_t>> Find(std::string_view word) const;
  // REQUIRES: `word` is not in the cache and at most kMaxWordBytes long.
  void Insert(std::string_view word, std::span<const int32_t> ids);

 private:
  struct Slot {
    uint64_t hash = 0;
    uint32_t word_begin = 0;
    uint32_t word_size = 0;  // 0 marks a free slot, because no word is empty
    uint32_t ids_begin = 0;
    uint32_t ids_size = 0;
  };

  size_t FindSlot(std::string_view word, uint64_t hash) const;

  std::vector<Slot> slots_;
  size_t count_ = 0;
  std::string words_;
  std::vector<int32_t> ids_;
};

}  // namespace kvtune::tokenizer
