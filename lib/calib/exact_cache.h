// The exact model's pass over a prompt set, kept in a folder: plans that are scored again and again
// on one model need it every time, and it costs as much as a plan.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "lib/core/measured_model.h"

namespace kvtune {

// All that the pass depends on.
struct ExactCacheKey {
  std::string version;  // of kvtune
  std::string model_hash;
  std::string prompts_hash;
  std::string device;  // "cpu", "cuda:0"
  std::string dtype;
  std::string prefill;
};

enum class CacheUse {
  kStored,    // there was none: run and written
  kUsed,      // restored
  kReplaced,  // there was one that did not fit: run again and written
};

// Gives the model the exact passes of `prompts`, from the cache where it has them. An entry is
// used only when its checksum is right and the shortest prompt, which is run again, gives the same
// bits: an entry of another processor or library, whose rounding differs, is replaced. Throws Error
// when the folder cannot be written.
CacheUse UseExactCache(const std::filesystem::path& folder, const ExactCacheKey& key,
                       MeasuredModel& model, std::span<const TokenIds> prompts);

// The entry's file.
std::filesystem::path ExactCacheFile(const std::filesystem::path& folder, const ExactCacheKey& key);

}  // namespace kvtune
