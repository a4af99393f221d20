// What fits into a memory: the weights of a model, and beside them the cache of so many sequences
// of so many tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kvtune {

// A budget as a user asks for it.
struct MemoryOptions {
  std::optional<uint64_t> memory_bytes;  // of the memory that weights and cache share
  std::string gpu;                       // in place of its size, a name of lib/core/gpus.h
  int64_t parallel = 1;                  // sequences that are served at a time
  std::optional<uint64_t>
      weight_bytes;  // where the engine loads other weights than the checkpoint's

  bool is_asked_for() const { return memory_bytes.has_value() || !gpu.empty(); }
};

struct MemoryBudget {
  std::string memory_name;  // "24.0 GiB", "H100 (80.0 GiB)"
  double memory_bytes = 0;
  double weight_bytes = 0;
  int64_t context = 0;  // tokens of each sequence
  int64_t parallel = 1;

  // What remains for the cache beside the weights; 0 where they do not fit.
  double left_bytes() const;
  bool weights_fit() const { return weight_bytes <= memory_bytes; }
  // The tokens of all sequences together.
  double tokens() const { return static_cast<double>(context) * static_cast<double>(parallel); }
  // The most bytes per token with which all sequences fit.
  double most_bytes_per_token() const { return left_bytes() / tokens(); }
  double CacheBytes(double bytes_per_token) const { return bytes_per_token * tokens(); }
  bool Fits(double bytes_per_token) const { return CacheBytes(bytes_per_token) <= left_bytes(); }
  // The tokens, of all sequences together, whose cache fits.
  int64_t FittingTokens(double bytes_per_token) const;
};

// `weight_bytes` are those of the checkpoint; the options may say others. Throws Error (kUsage) for
// both a memory and a GPU, for neither, and for an unknown GPU.
MemoryBudget BudgetOf(const MemoryOptions& options, double weight_bytes, int64_t context);

}  // namespace kvtune
