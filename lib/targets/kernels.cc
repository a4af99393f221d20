#include "lib/targets/kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/core/gpus.h"
#include "lib/targets/engine.h"

namespace kvtune {
namespace {

constexpr int kOldest = 50, kNewest = 129;

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
  if (const Gpu* known = FindNvidiaGpu(gpu)) return known->compute_capability;
  throw Error(
      fmt::format("--gpu: found \"{}\", expected a compute capability such as sm_90 or 9.0, "
                  "or one of {}",
                  gpu, fmt::join(NvidiaGpuNames(), ", ")),
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
