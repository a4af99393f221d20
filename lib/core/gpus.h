// Common GPUs by name: how much memory they have, so that a budget can be asked for without looking
// it up, and what NVIDIA's can run.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvtune {

struct Gpu {
  std::string_view name;         // "H100", as the maker writes it without its own name
  int compute_capability = 0;    // NVIDIA's, times ten: 90 for 9.0; 0 of another maker's
  int gibibytes = 0;             // 0 where the maker's page was not read
  std::string_view source = {};  // the maker's page that tells the memory
};

// All known GPUs, in the order of messages. Makers write GB where they count 2^30 bytes; driver and
// error correction keep up to a tenth of it.
std::span<const Gpu> Gpus();

// Finds a GPU whose memory is known by its name, whatever the case, spaces and dashes: "rtx 4090",
// "RTX-4090", "4090" and what the driver says, "NVIDIA GeForce RTX 4090", are the same. A name that
// goes on is another card's. Throws Error (kUsage) naming those that exist.
const Gpu& FindGpuWithMemory(std::string_view name);

// Finds a GPU of NVIDIA whose name this one is or begins with, the longest of them: behind the name
// data sheets and drivers write memory and variant, which the compute capability does not depend
// on. nullptr for a name that is not known.
const Gpu* FindNvidiaGpu(std::string_view name);

// The names of NVIDIA's GPUs, each once, without the memory that some are told apart by.
std::vector<std::string> NvidiaGpuNames();

}  // namespace kvtune
