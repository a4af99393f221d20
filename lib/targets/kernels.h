// Which kernels an engine has: on which NVIDIA GPUs a format runs, and which pairs the engine's
// default builds have fused attention kernels for.
//
// The facts stand in the engines' own files, each with its source. What no source says is not
// said here either: a format without an entry runs wherever the engine does.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/pareto_front.h"
#include "lib/core/provenance.h"
#include "lib/targets/target.h"

namespace kvtune {

// What default builds of the engine lack for this pair, and what it costs; nullopt where they have
// all that it needs.
std::optional<std::string> WhyNoDefaultKernel(const Target& target, PrecisionPair pair);

// Whether default builds have kernels for all pairs of the target.
bool HasAllDefaultKernels(const Target& target);

// The target with only those `pairs` that default builds have kernels for. Plans with other pairs
// can still be scored and exported. Says on the log how many pairs it leaves out. Throws Error when
// none is left.
Target WithDefaultKernels(Target target);

// One sentence, with a line's end, about the plans whose pairs default builds lack kernels for;
// empty when there are none.
std::string KernelSentence(std::span<const ScoredPlan> plans, const Target& target);
std::string KernelSentence(const ParetoFront& front);

// The compute capability of an NVIDIA GPU times ten, so 90 for "sm_90", "9.0", "90" and "H100".
// Throws Error (kUsage) that names what is known.
int ComputeCapabilityOf(const std::string& gpu);

// Why kernels of the format do not run on GPUs of this compute capability; nullopt when they do, or
// when nothing is known that stops them.
std::optional<std::string> WhyNotOnGpu(const Target& target, KvFormatId format,
                                       int compute_capability);

}  // namespace kvtune
