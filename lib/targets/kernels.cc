#include "lib/targets/kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/targets/engine.h"

namespace kvtune {
namespace {

struct Gpu {
  std::string_view name;
  int compute_capability;
};

// NVIDIA's list of CUDA GPUs (developer.nvidia.com/cuda-gpus).
constexpr std::array kGpus = std::to_array<Gpu>(
    {{"V100", 70},     {"T4", 75},       {"RTX2080", 75},     {"A100", 80},     {"A30", 80},
     {"A800", 80},     {"A10", 86},      {"A10G", 86},        {"A16", 86},      {"A40", 86},
     {"A6000", 86},    {"RTX3060", 86},  {"RTX3070", 86},     {"RTX3080", 86},  {"RTX3090", 86},
     {"L4", 89},       {"L40", 89},      {"L40S", 89},        {"L20", 89},      {"RTX4060", 89},
     {"RTX4070", 89},  {"RTX4080", 89},  {"RTX4090", 89},     {"H100", 90},     {"H200", 90},
     {"H20", 90},      {"H800", 90},     {"GH200", 90},       {"B100", 100},    {"B200", 100},
     {"GB200", 100},   {"B300", 103},    {"GB300", 103},      {"RTX5060", 120}, {"RTX5070", 120},
     {"RTX5080", 120}, {"RTX5090", 120}, {"RTXPRO6000", 120}, {"GB10", 121}});

constexpr int kOldest = 50, kNewest = 129;

// The words of a name in capitals, without its makers' and without what a word says of the card's
// variant: "NVIDIA GeForce RTX 4070Ti" gives "RTX" and "4070".
std::vector<std::string> WordsOf(std::string_view name) {
  std::vector<std::string> words(1);
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0) {
      words.back() += static_cast<char>(std::toupper(byte));
    } else {
      words.emplace_back();
    }
  }
  for (std::string& word : words) {
    for (const std::string_view maker : {"NVIDIA", "GEFORCE", "TESLA"}) {
      if (word.starts_with(maker)) word.erase(0, maker.size());
    }
    for (const std::string_view variant : {"SXM", "PCIE", "TI", "SUPER"}) {
      if (const size_t at = word.find(variant); at != std::string::npos) word.erase(at);
    }
  }
  return words;
}

// nullptr for a name that is not known. Behind the name data sheets and drivers write memory,
// socket and variant: "A100-SXM4-80GB", "H100 80GB HBM3", "RTX A6000".
const Gpu* KnownGpu(std::string_view name) {
  const Gpu* found = nullptr;
  std::string beginning;
  for (const std::string& word : WordsOf(name)) {
    if (word.empty()) continue;
    beginning += word;
    for (const Gpu& known : kGpus) {
      if (beginning == known.name || "RTX" + beginning == known.name ||
          beginning == "RTX" + std::string(known.name)) {
        found = &known;
      }
    }
  }
  return found;
}

// "sm_90", "sm90a", "9.0" or "90"; 0 for anything else.
int CapabilityOfNumber(std::string_view text) {
  for (const std::string_view prefix : {"sm_", "SM_", "sm", "SM"}) {
    if (!text.starts_with(prefix)) continue;
    text.remove_prefix(prefix.size());
    break;
  }
  if (text.ends_with('a') || text.ends_with('f')) text.remove_suffix(1);
  std::string digits(text);
  if (const size_t point = digits.find('.'); point != std::string::npos) {
    if (digits.size() != point + 2) return 0;  // one digit follows
    digits.erase(point, 1);
  }
  int number = 0;
  const auto [end, reason] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (reason != std::errc() || end != digits.data() + digits.size()) return 0;
  return number >= kOldest && number <= kNewest ? number : 0;
}

}  // namespace

std::optional<std::string> WhyNoDefaultKernel(const Target& target, PrecisionPair pair) {
  const Engine& engine = FindEngine(target.name);
  if (!engine.why_no_default_kernel || pair.is_exact()) return std::nullopt;
  return engine.why_no_default_kernel(pair);
}

bool HasAllDefaultKernels(const Target& target) {
  return std::ranges::none_of(target.shape.pairs, [&](PrecisionPair pair) {
    return WhyNoDefaultKernel(target, pair).has_value();
  });
}

Target WithDefaultKernels(Target target) {
  const size_t all = target.pairs.size();
  std::string reason;
  std::erase_if(target.pairs, [&](PrecisionPair pair) {
    const std::optional<std::string> why = WhyNoDefaultKernel(target, pair);
    if (why) reason = *why;
    return why.has_value();
  });
  const size_t left_out = all - target.pairs.size();
  if (target.pairs.empty()) {
    throw Error(
        fmt::format("choosing pairs of the target {}: found none that its default builds have "
                    "kernels for ({}), "
                    "expected some (--kernels all searches the others)",
                    target.name, reason));
  }
  if (left_out > 0) {
    LogInfo(fmt::format("{}: {} of {} pairs are not searched: {} (--kernels all searches them)",
                        target.name, left_out, all, reason));
  }
  return target;
}

std::string KernelSentence(std::span<const ScoredPlan> plans, const Target& target) {
  std::string names, reason;
  for (const ScoredPlan& plan : plans) {
    for (const PrecisionPair pair : plan.plan.layers) {
      const std::optional<std::string> why = WhyNoDefaultKernel(target, pair);
      if (!why) continue;
      names += (names.empty() ? "" : ", ") + plan.name;
      reason = *why;
      break;
    }
  }
  return names.empty() ? "" : fmt::format("{}: {}.\n", names, reason);
}

std::string KernelSentence(const ParetoFront& front) {
  return KernelSentence(front.plans, FindTarget(front.run.target));
}

int ComputeCapabilityOf(const std::string& gpu) {
  if (const int number = CapabilityOfNumber(gpu); number != 0) return number;
  if (const Gpu* known = KnownGpu(gpu)) return known->compute_capability;
  std::string names;
  for (const Gpu& known : kGpus)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", known.name);
  throw Error(
      fmt::format("--gpu: found \"{}\", expected a compute capability such as sm_90 or 9.0, "
                  "or one of {}",
                  gpu, names),
      ExitCode::kUsage);
}

std::optional<std::string> WhyNotOnGpu(const Target& target, KvFormatId format,
                                       int compute_capability) {
  for (const GpuNeed& need : FindEngine(target.name).gpu_needs) {
    if (need.format != format || compute_capability >= need.compute_capability) continue;
    return fmt::format("from sm_{} on: {}", need.compute_capability, need.reason);
  }
  return std::nullopt;
}

}  // namespace kvtune
