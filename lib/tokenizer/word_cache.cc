#include "lib/tokenizer/word_cache.h"

#include <functional>

namespace kvtune::tokenizer {
namespace {

constexpr size_t kSlots = size_t{1} << 16;  // 1.5 MB
constexpr size_t kMaxWords = kSlots / 2;    // about as many distinct words as a text of 2 MB has

}  // namespace

WordCache::WordCache() : slots_(kSlots) {}

size_t WordCache::FindSlot(std::string_view word, uint64_t hash) const {
  size_t i = hash & (kSlots - 1);
  while (slots_[i].word_size != 0) {
    const Slot& slot = slots_[i];
    if (slot.hash == hash &&
        std::string_view(words_).substr(slot.word_begin, slot.word_size) == word)
      break;
    i = (i + 1) & (kSlots - 1);
  }
  return i;
}

std::optional<std::span<const int32_t>> WordCache::Find(std::string_view word) const {
  const Slot& slot = slots_[FindSlot(word, std::hash<std::string_view>()(word))];
  if (slot.word_size == 0) return std::nullopt;
  return std::span(ids_).subspan(slot.ids_begin, slot.ids_size);
}

void WordCache::Insert(std::string_view word, std::span<const int32_t> ids) {
  // Half of the slots stay free, which keeps the chains of the open addressing short.
  if (count_ == kMaxWords) {
    slots_.assign(kSlots, Slot());
    count_ = 0;
    words_.clear();
    ids_.clear();
  }
  const uint64_t hash = std::hash<std::string_view>()(word);
  slots_[FindSlot(word, hash)] = {
      hash, static_cast<uint32_t>(words_.size()), static_cast<uint32_t>(word.size()),
      static_cast<uint32_t>(ids_.size()), static_cast<uint32_t>(ids.size())};
  words_.append(word);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++count_;
}

}  // namespace kvtune::tokenizer
