// Which pairs of neighbouring tokens merge, and into what. This is the lookup in which byte-pair
// encoding spends its time.
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
  uint32_t rank;  // the lower rank merges first
  int32_t id;     // the id of the merged token
};

// A hash table with open addressing. Every character of a word that is not cached costs about three
// lookups. With std::unordered_map these alone take twice the time of a whole encoding with this
// table.
class MergeTable {
 public:
  // Makes room for `count` pairs.
  explicit MergeTable(size_t count);

  // A pair that is already there gets the new merge, because the later of two equal rules counts in
  // `tokenizers` (tokenizers/src/models/bpe/model.rs, BpeBuilder::build).
  void Insert(int32_t left, int32_t right, Merge merge);

  // Returns null when the pair does not merge.
  const Merge* Find(int32_t left, int32_t right) const {
    const uint64_t key = Key(left, right);
    for (size_t i = Hash(key) & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.key == key) return &slot.merge;
      if (slot.key == kFree) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kFree = ~uint64_t{0};  // equals no pair, because ids are not negative
  struct Slot {
    uint64_t key = kFree;
    Merge merge = {0, 0};
  };

  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // Fibonacci hashing, whose high bits are the well mixed ones.
  static size_t Hash(uint64_t key) {
    key *= 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(key ^ key >> 32);
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t mask_;
};

}  // namespace kvtune::tokenizer
