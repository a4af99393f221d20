// Which adjacent token pairs merge, and into what: the hot lookup of byte-pair encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kvtune::tokenizer {

// A rule as a file writes it: two tokens that merge into their concatenation.
struct MergeRule {
  std::string left;
  std::string right;
};

struct Merge {
  uint32_t rank;  // lower merges first
  int32_t id;     // of the merged token
};

// A hash table with open addressing. Every character of an uncached word costs about three lookups,
// which std::unordered_map makes twice as slow as a whole encoding with this table.
class MergeTable {
 public:
  // Room for `count` pairs.
  explicit MergeTable(size_t count);

  // A pair that is there already gets the new merge: the later of two equal rules counts, as in
  // `tokenizers` (tokenizers/src/models/bpe/model.rs, BpeBuilder::build).
  void Insert(int32_t left, int32_t right, Merge merge);

  // Null where the pair does not merge.
  const Merge* Find(int32_t left, int32_t right) const {
    const uint64_t key = Key(left, right);
    for (size_t i = Hash(key) & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.key == key) return &slot.merge;
      if (slot.key == kFree) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};  // no pair: ids are not negative
  struct Slot {
    uint64_t key = kFree;
    Merge merge = {0, 0};
  };

  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // Fibonacci hashing; the high bits are the well mixed ones.
  static size_t Hash(uint64_t key) {
    key *= 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(key ^ key >> 32);
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t mask_;
};

}  // namespace kvtune::tokenizer
