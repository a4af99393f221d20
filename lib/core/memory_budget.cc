#include "lib/core/memory_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/quantity.h"
#include "lib/core/gpus.h"

namespace kvtune {

double MemoryBudget::left_bytes() const { return std::max(memory_bytes - weight_bytes, 0.0); }

int64_t MemoryBudget::FittingTokens(double bytes_per_token) const {
  return static_cast<int64_t>(left_bytes() / bytes_per_token);
}

MemoryBudget BudgetOf(const MemoryOptions& options, double weight_bytes, int64_t context) {
  if (options.memory_bytes.has_value() == !options.gpu.empty()) {
    throw Error(fmt::format("budgeting memory: found {}, expected --memory SIZE or --gpu NAME",
                            options.gpu.empty() ? "no memory" : "both --memory and --gpu"),
                ExitCode::kUsage);
  }
  MemoryBudget budget;
  if (options.memory_bytes) {
    budget.memory_bytes = static_cast<double>(*options.memory_bytes);
    budget.memory_name = SizeText(budget.memory_bytes);
  } else {
    const Gpu& gpu = FindGpuWithMemory(options.gpu);
    constexpr double kGibibyte = 0x1p30;
    budget.memory_bytes = gpu.gibibytes * kGibibyte;
    budget.memory_name = fmt::format("{} ({})", gpu.name, SizeText(budget.memory_bytes));
  }
  budget.weight_bytes =
      options.weight_bytes ? static_cast<double>(*options.weight_bytes) : weight_bytes;
  budget.context = context;
  budget.parallel = options.parallel;
  return budget;
}

}  // namespace kvtune
