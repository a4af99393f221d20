#include "lib/core/gpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/suggestion.h"

namespace kvtune {
namespace {

// Compute capabilities are those of NVIDIA's list (developer.nvidia.com/cuda-gpus).
constexpr Gpu kGpus[] = {
    {"V100-16GB", 70, 16, "https://www.nvidia.com/en-us/data-center/v100/"},
    {"V100-32GB", 70, 32, "https://www.nvidia.com/en-us/data-center/v100/"},
    {"T4", 75, 16, "https://www.nvidia.com/en-us/data-center/tesla-t4/"},
    {"RTX 2080", 75},
    {"A100-40GB", 80, 40, "https://www.nvidia.com/en-us/data-center/a100/"},
    {"A100-80GB", 80, 80, "https://www.nvidia.com/en-us/data-center/a100/"},
    {"A30", 80, 24, "https://www.nvidia.com/en-us/data-center/products/a30-gpu/"},
    {"A800", 80},
    {"A10", 86, 24, "https://www.nvidia.com/en-us/data-center/products/a10-gpu/"},
    {"A10G", 86, 24, "https://aws.amazon.com/ec2/instance-types/g5/"},
    {"A16", 86},
    {"A40", 86, 48, "https://www.nvidia.com/en-us/data-center/a40/"},
    {"RTX A6000", 86, 48, "https://www.nvidia.com/en-us/products/workstations/rtx-a6000/"},
    {"RTX 3060", 86},
    {"RTX 3070", 86},
    {"RTX 3080", 86},
    {"RTX 3090", 86, 24,
     "https://www.nvidia.com/en-us/geforce/graphics-cards/30-series/rtx-3090-3090ti/"},
    {"L4", 89, 24, "https://www.nvidia.com/en-us/data-center/l4/"},
    {"L40", 89},
    {"L40S", 89, 48, "https://www.nvidia.com/en-us/data-center/l40s/"},
    {"L20", 89},
    {"RTX 4060", 89},
    {"RTX 4070", 89},
    {"RTX 4080", 89, 16,
     "https://www.nvidia.com/en-us/geforce/graphics-cards/40-series/rtx-4080-family/"},
    {"RTX 4090", 89, 24, "https://www.nvidia.com/en-us/geforce/graphics-cards/40-series/rtx-4090/"},
    {"RTX 6000 Ada", 89, 48, "https://www.nvidia.com/en-us/products/workstations/rtx-6000/"},
    {"H100", 90, 80, "https://www.nvidia.com/en-us/data-center/h100/"},
    {"H100-NVL", 90, 94, "https://www.nvidia.com/en-us/data-center/h100/"},
    {"H200", 90, 141, "https://www.nvidia.com/en-us/data-center/h200/"},
    {"H20", 90},
    {"H800", 90},
    {"GH200", 90},
    {"B100", 100},
    {"B200", 100, 180, "https://www.nvidia.com/en-us/data-center/dgx-b200/"},
    {"GB200", 100},
    {"B300", 103},
    {"GB300", 103},
    {"RTX 5060", 120},
    {"RTX 5070", 120},
    {"RTX 5080", 120, 16,
     "https://www.nvidia.com/en-us/geforce/graphics-cards/50-series/rtx-5080/"},
    {"RTX 5090", 120, 32,
     "https://www.nvidia.com/en-us/geforce/graphics-cards/50-series/rtx-5090/"},
    {"RTX PRO 6000", 120},
    {"GB10", 121},
    {"MI300X", 0, 192, "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html"},
    {"MI325X", 0, 256, "https://www.amd.com/en/products/accelerators/instinct/mi300/mi325x.html"},
    {"MI355X", 0, 288, "https://www.amd.com/en/products/accelerators/instinct/mi350/mi355x.html"},
};

// The words of a name in lower case, without those that say who made the card, how it is plugged in
// and what kind of memory it has: "rtx4090" and "NVIDIA GeForce RTX 4090" are "4090".
std::vector<std::string> WordsOf(std::string_view name) {
  constexpr std::string_view kMakers[] = {"nvidia", "amd", "geforce", "tesla", "instinct", "rtx"};
  constexpr std::string_view kVariants[] = {"sxm", "pcie", "hbm", "generation"};
  std::vector<std::string> words(1);
  for (const char c : name) {
    const auto letter = static_cast<unsigned char>(c);
    if (std::isalnum(letter)) {
      words.back() += static_cast<char>(std::tolower(letter));
    } else {
      words.emplace_back();
    }
  }
  for (std::string& word : words) {
    for (const std::string_view maker : kMakers) {
      if (word.starts_with(maker)) word.erase(0, maker.size());
    }
  }
  std::erase_if(words, [&](const std::string& word) {
    return word.empty() || std::ranges::any_of(kVariants, [&](std::string_view variant) {
             return word.starts_with(variant);
           });
  });
  return words;
}

std::string Plain(std::string_view name) { return fmt::format("{}", fmt::join(WordsOf(name), "")); }

// "A100" of "A100-80GB".
std::string_view WithoutMemory(const Gpu& gpu) {
  const size_t dash = gpu.name.find('-');
  const bool has_memory = dash != std::string_view::npos && gpu.name.ends_with("GB");
  return gpu.name.substr(0, has_memory ? dash : std::string_view::npos);
}

// Whether a plain name is that of a GPU, or that with its memory behind it.
bool IsNameOf(const std::string& wanted, const Gpu& gpu) {
  const std::string plain = Plain(gpu.name);
  return wanted == plain || wanted == plain + std::to_string(gpu.gibibytes) + "gb";
}

}  // namespace

std::span<const Gpu> Gpus() { return kGpus; }

const Gpu& FindGpuWithMemory(std::string_view name) {
  const std::string wanted = Plain(name);
  std::vector<std::string> names;
  for (const Gpu& gpu : kGpus) {
    if (gpu.gibibytes == 0) continue;
    if (IsNameOf(wanted, gpu)) return gpu;
    names.emplace_back(gpu.name);
  }
  throw Error(fmt::format("--gpu: found \"{}\"{}, expected one of {}; the memory of any other: "
                          "--memory SIZE",
                          name, DidYouMean(name, names), fmt::join(names, ", ")),
              ExitCode::kUsage);
}

const Gpu* FindNvidiaGpu(std::string_view name) {
  const Gpu* found = nullptr;
  std::string beginning;
  for (std::string word : WordsOf(name)) {
    for (const std::string_view variant : {"ti", "super"}) {
      if (const size_t at = word.find(variant); at != std::string::npos) word.erase(at);
    }
    beginning += word;
    for (const Gpu& gpu : kGpus) {
      if (gpu.compute_capability != 0 && beginning == Plain(WithoutMemory(gpu))) found = &gpu;
    }
  }
  return found;
}

std::vector<std::string> NvidiaGpuNames() {
  std::vector<std::string> names;
  for (const Gpu& gpu : kGpus) {
    const std::string_view name = WithoutMemory(gpu);
    if (gpu.compute_capability != 0 && (names.empty() || names.back() != name))
      names.emplace_back(name);
  }
  return names;
}

}  // namespace kvtune
