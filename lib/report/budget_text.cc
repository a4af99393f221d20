#include "lib/report/budget_text.h"

#include <fmt/format.h>

#include "lib/base/printable.h"
#include "lib/base/quantity.h"

namespace kvtune {

std::string SequencesText(const MemoryBudget& budget) {
  const std::string tokens = TokensText(budget.context) + " tokens";
  return budget.parallel == 1 ? tokens : fmt::format("{} x {}", budget.parallel, tokens);
}

std::string BudgetText(const MemoryBudget& budget, double exact_bytes_per_token) {
  if (!budget.weights_fit()) {
    return fmt::format(
        "Memory {}: the weights take {} and do not fit (--weights-size SIZE: those of a quantized "
        "model).\n",
        budget.memory_name, SizeText(budget.weight_bytes));
  }
  const std::string exact = SizeText(budget.CacheBytes(exact_bytes_per_token));
  const std::string verdict =
      budget.Fits(exact_bytes_per_token)
          ? fmt::format("No quantization is needed: in bf16 it takes {}.", exact)
          : fmt::format("In bf16 it takes {} and does not fit.", exact);
  return fmt::format(
      "Memory {}: weights {}, {} remain for the cache of {}. {} The engine's own buffers are not "
      "counted; vLLM, for one, leaves a tenth of the memory free unless told otherwise.\n",
      budget.memory_name, SizeText(budget.weight_bytes), SizeText(budget.left_bytes()),
      SequencesText(budget), verdict);
}

std::string FitText(const MemoryBudget& budget, const ScoredPlan& plan,
                    const ScoredPlan& reference) {
  const double bytes = plan.cost.bytes_per_token;
  const double exact_bytes = reference.cost.bytes_per_token;
  return BudgetText(budget, exact_bytes) +
         fmt::format("{} takes {}: {}, {} tokens in all.\n", PrintableLine(plan.name),
                     SizeText(budget.CacheBytes(bytes)), ContextGainText(bytes, exact_bytes),
                     CountText(static_cast<double>(budget.FittingTokens(bytes))));
}

std::string ContextGainText(double bytes_per_token, double exact_bytes_per_token) {
  return fmt::format("{:.1f} times the context of bf16", exact_bytes_per_token / bytes_per_token);
}

}  // namespace kvtune
