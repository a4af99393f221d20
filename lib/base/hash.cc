#include "lib/base/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstdint>

namespace kvtune {

struct ContentHash::State {
  XXH3_state_t* xxh3 = XXH3_createState();
  ~State() { XXH3_freeState(xxh3); }
};

ContentHash::ContentHash() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->xxh3); }

ContentHash::~ContentHash() = default;

void ContentHash::Update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh3, bytes.data(), bytes.size());
}

void ContentHash::UpdateField(std::string_view text) {
  // A fixed width gives the same hash on every 64-bit machine.
  const uint64_t size = text.size();
  Update(std::as_bytes(std::span(&size, 1)));
  Update(std::as_bytes(std::span(text)));
}

std::string ContentHash::Digest() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh3);
  return fmt::format("xxh3:{:016x}{:016x}", hash.high64, hash.low64);
}

std::string HashOf(std::string_view text) {
  ContentHash hash;
  hash.Update(std::as_bytes(std::span(text)));
  return hash.Digest();
}

}  // namespace kvtune
