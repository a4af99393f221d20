#include "lib/targets/kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

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

// "RTX 4090" and "rtx-4090" are the same name.
std::string Normalized(std::string_view name) {
  std::string normalized;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      normalized += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
  }
  return normalized;
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
  std::string wanted = Normalized(gpu);
  for (const std::string_view maker : {"NVIDIA", "GEFORCE", "TESLA"}) {
    if (wanted.starts_with(maker)) wanted.erase(0, maker.size());
  }
  for (const Gpu& known : kGpus) {
    // Data sheets append memory and socket: "A100-SXM4-80GB".
    if (wanted == known.name || wanted.starts_with(std::string(known.name) + "SXM") ||
        wanted.starts_with(std::string(known.name) + "PCIE") || "RTX" + wanted == known.name) {
      return known.compute_capability;
    }
  }
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
