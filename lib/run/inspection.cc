#include "lib/run/inspection.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/quantity.h"
#include "lib/io/checkpoint.h"
#include "lib/io/model_directory.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

bool HasWeightFiles(const fs::path& model) {
  const auto entries = fs::directory_iterator(model);
  return std::any_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    return entry.path().extension() == ".safetensors" ||
           entry.path().filename() == "model.safetensors.index.json";
  });
}

CacheCost CostOfPair(PrecisionPair pair, const Target& target, const ModelConfig& config,
                     int64_t context) {
  const PrecisionPlan plan = target.shape.Uniform(pair, static_cast<size_t>(config.layer_count()));
  CacheCost cost;
  cost.plan = {.name = PairLabel(pair),
               .plan = plan,
               .cost = CostOf(target, plan, config, context),
               .calibration = {}};
  cost.plan.cost.padded_bytes_per_token = PaddedBytesPerToken(target, plan, config, context);
  for (const int64_t tokens : kInspectedContexts) {
    cost.bytes.push_back(CostOf(target, plan, config, tokens).bytes_per_token *
                         static_cast<double>(tokens));
  }
  return cost;
}

// The memory that was asked for, else the free memory of the device, else none.
std::optional<MemoryBudget> BudgetFor(const Inspection& inspection, const InspectOptions& options) {
  if (options.memory.is_asked_for())
    return BudgetOf(options.memory, inspection.served_bytes(), options.context);
  if (!inspection.device) return std::nullopt;
  MemoryOptions free = options.memory;
  free.memory_bytes = static_cast<uint64_t>(std::max<int64_t>(inspection.device->free_bytes, 0));
  MemoryBudget budget = BudgetOf(free, inspection.served_bytes(), options.context);
  budget.memory_name = fmt::format("{} ({} free)", inspection.device->name, budget.memory_name);
  return budget;
}

}  // namespace

double Inspection::served_bytes() const {
  return weights ? static_cast<double>(weights->bytes) : 2 * static_cast<double>(size.parameters());
}

std::optional<StoredWeights> WeightsOf(const fs::path& model) {
  std::error_code ignored;
  if (!fs::is_directory(model, ignored) || !HasWeightFiles(model)) return std::nullopt;
  const Checkpoint checkpoint(model);
  return StoredWeights{checkpoint.weight_bytes(), checkpoint.shard_count()};
}

Inspection InspectModel(const InspectOptions& options, std::optional<DeviceDescription> device) {
  Inspection inspection;
  DescribedModel model = DescribeModel(options.model);
  inspection.name = ModelName(model.directory);
  inspection.config = std::move(model.config);
  const Target target = TargetFor(FindTarget(options.target), inspection.config);
  inspection.size = SizeOf(inspection.config);
  inspection.device = std::move(device);
  if (!model.is_file) inspection.weights = WeightsOf(model.directory);
  inspection.caches.push_back(CostOfPair(kExactPair, target, inspection.config, options.context));
  for (const PrecisionPair pair : target.pairs) {
    if (pair.is_exact()) continue;  // it is the first one
    inspection.caches.push_back(CostOfPair(pair, target, inspection.config, options.context));
  }
  inspection.budget = BudgetFor(inspection, options);
  return inspection;
}

}  // namespace kvtune
