// A 128-bit content hash (XXH3) that tells whether a model, a prompt set or a file is the same one.
//
// The hash is not cryptographic: it guards against mistakes, not against an attacker. It was chosen
// over SHA-256 because it reads a checkpoint at the speed of memory.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace kvtune {

class ContentHash {
 public:
  ContentHash();
  ~ContentHash();
  ContentHash(const ContentHash&) = delete;
  ContentHash& operator=(const ContentHash&) = delete;

  void Update(std::span<const std::byte> bytes);
  // Hashes the length of `text` too, so that ("ab", "c") and ("a", "bc") differ.
  void UpdateField(std::string_view text);

  // Returns 32 lower-case hexadecimal digits after the prefix "xxh3:".
  std::string Digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string HashOf(std::string_view text);

}  // namespace kvtune
