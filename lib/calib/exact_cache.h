// Keeps the exact model's pass over a prompt set in a folder. Every scoring of plans on one model
// needs this pass, and it costs as much as scoring a plan.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/measured_model.h"

namespace kvtune {

// Everything on which the pass depends.
struct ExactCacheKey {
  std::string version;  // version of kvtune
  std::string model_hash;
  std::string prompts_hash;
  std::string device;  // "cpu", "cuda:0"
  std::string dtype;
  std::string prefill;
};

enum class CacheUse {
  kStored,    // there was no entry, so the pass was run and its result written
  kUsed,      // the entry was restored
  kReplaced,  // the entry did not fit, so the pass was run and its result written
};

// Gives the model the exact passes of `prompts`, from the cache when it has them. An entry is used
// only when its checksum is right and when the shortest prompt, which is run again, gives the same
// bits. An entry of another processor or library, whose rounding differs, is therefore replaced.
// Throws Error when the folder cannot be written.
CacheUse UseExactCache(const std::filesystem::path& folder, const ExactCacheKey& key,
                       MeasuredModel& model, std::span<const TokenIds> prompts);

// Reads an entry of `prompt_count` prompts, which messages call `source`. Throws Error for anything
// that UseExactCache has not written.
std::vector<ExactPass> ParseExactPasses(std::string_view content, const std::string& source,
                                        const ExactCacheKey& key, size_t prompt_count);

// Returns the file of the entry.
std::filesystem::path ExactCacheFile(const std::filesystem::path& folder, const ExactCacheKey& key);

}  // namespace kvtune
