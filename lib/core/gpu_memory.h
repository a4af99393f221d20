// The memory of common GPUs by name, so that a budget can be asked for without looking it up.
#pragma once

#include <span>
#include <string_view>

namespace kvtune {

struct GpuMemory {
  std::string_view name;  // "H100", as the maker writes it without its own name
  int gibibytes = 0;
  std::string_view source;  // the maker's page that says so
};

// All known GPUs, in the order of messages. Makers write GB where they count 2^30 bytes; driver and
// error correction keep up to a tenth of it.
std::span<const GpuMemory> GpuMemories();

// Finds a GPU by its name, whatever the case, spaces and dashes: "rtx 4090", "RTX-4090", "4090" and
// what the driver says, "NVIDIA GeForce RTX 4090", are the same. Throws Error (kUsage) naming those
// that exist.
const GpuMemory& FindGpu(std::string_view name);

}  // namespace kvtune
