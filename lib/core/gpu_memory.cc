#include "lib/core/gpu_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/suggestion.h"

namespace kvtune {
namespace {

constexpr GpuMemory kGpus[] = {
    {"T4", 16, "https://www.nvidia.com/en-us/data-center/tesla-t4/"},
    {"V100-16GB", 16, "https://www.nvidia.com/en-us/data-center/v100/"},
    {"V100-32GB", 32, "https://www.nvidia.com/en-us/data-center/v100/"},
    {"L4", 24, "https://www.nvidia.com/en-us/data-center/l4/"},
    {"A10", 24, "https://www.nvidia.com/en-us/data-center/products/a10-gpu/"},
    {"A10G", 24, "https://aws.amazon.com/ec2/instance-types/g5/"},
    {"A30", 24, "https://www.nvidia.com/en-us/data-center/products/a30-gpu/"},
    {"A40", 48, "https://www.nvidia.com/en-us/data-center/a40/"},
    {"L40S", 48, "https://www.nvidia.com/en-us/data-center/l40s/"},
    {"A100-40GB", 40, "https://www.nvidia.com/en-us/data-center/a100/"},
    {"A100-80GB", 80, "https://www.nvidia.com/en-us/data-center/a100/"},
    {"H100", 80, "https://www.nvidia.com/en-us/data-center/h100/"},
    {"H100-NVL", 94, "https://www.nvidia.com/en-us/data-center/h100/"},
    {"H200", 141, "https://www.nvidia.com/en-us/data-center/h200/"},
    {"B200", 180, "https://www.nvidia.com/en-us/data-center/dgx-b200/"},
    {"RTX 3090", 24,
     "https://www.nvidia.com/en-us/geforce/graphics-cards/30-series/rtx-3090-3090ti/"},
    {"RTX 4080", 16,
     "https://www.nvidia.com/en-us/geforce/graphics-cards/40-series/rtx-4080-family/"},
    {"RTX 4090", 24, "https://www.nvidia.com/en-us/geforce/graphics-cards/40-series/rtx-4090/"},
    {"RTX 5080", 16, "https://www.nvidia.com/en-us/geforce/graphics-cards/50-series/rtx-5080/"},
    {"RTX 5090", 32, "https://www.nvidia.com/en-us/geforce/graphics-cards/50-series/rtx-5090/"},
    {"RTX A6000", 48, "https://www.nvidia.com/en-us/products/workstations/rtx-a6000/"},
    {"RTX 6000 Ada", 48, "https://www.nvidia.com/en-us/products/workstations/rtx-6000/"},
    {"MI300X", 192, "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html"},
    {"MI325X", 256, "https://www.amd.com/en/products/accelerators/instinct/mi300/mi325x.html"},
    {"MI355X", 288, "https://www.amd.com/en/products/accelerators/instinct/mi350/mi355x.html"},
};

// The letters and digits of a name in lower case, without the words that say who made the card, how
// it is plugged in and what kind of memory it has: "rtx4090" and "NVIDIA GeForce RTX 4090" are
// "4090".
std::string Plain(std::string_view name) {
  constexpr std::string_view kMakers[] = {"nvidia", "amd", "geforce", "tesla", "instinct", "rtx"};
  constexpr std::string_view kVariants[] = {"sxm", "pcie", "hbm", "generation"};
  std::string plain, word;
  const auto end_word = [&] {
    for (const std::string_view maker : kMakers) {
      if (word.starts_with(maker)) word.erase(0, maker.size());
    }
    const bool is_variant = std::ranges::any_of(
        kVariants, [&](std::string_view variant) { return word.starts_with(variant); });
    if (!is_variant) plain += word;
    word.clear();
  };
  for (const char c : name) {
    const auto letter = static_cast<unsigned char>(c);
    if (std::isalnum(letter)) {
      word += static_cast<char>(std::tolower(letter));
    } else {
      end_word();
    }
  }
  end_word();
  return plain;
}

// Whether a plain name is that of a GPU, or that with its memory behind it.
bool IsNameOf(const std::string& wanted, const GpuMemory& gpu) {
  const std::string plain = Plain(gpu.name);
  return wanted == plain || wanted == plain + std::to_string(gpu.gibibytes) + "gb";
}

}  // namespace

std::span<const GpuMemory> GpuMemories() { return kGpus; }

const GpuMemory& FindGpu(std::string_view name) {
  const std::string wanted = Plain(name);
  std::vector<std::string> names;
  for (const GpuMemory& gpu : kGpus) {
    if (IsNameOf(wanted, gpu)) return gpu;
    names.emplace_back(gpu.name);
  }
  throw Error(fmt::format("--gpu: found \"{}\"{}, expected one of {}; the memory of any other: "
                          "--memory SIZE",
                          name, DidYouMean(name, names), fmt::join(names, ", ")),
              ExitCode::kUsage);
}

}  // namespace kvtune
