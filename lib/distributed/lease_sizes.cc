#include "lib/distributed/lease_sizes.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace kvtune {
namespace {

// While it is not known how long a piece takes.
constexpr size_t kFirstLeasesEach = 8;
// Of a lease among the last ones.
constexpr size_t kSmallPieces = 4;
// Rows of a lease of generation, where processes would not be idle: with far fewer, a step on a GPU
// takes most of its time to read the weights, and several threads of a CPU have 32 each.
constexpr size_t kGpuRows = 1024, kCpuRows = 128;
constexpr size_t kMostRowLeasesEach = 8;
// More pieces than that cost more in messages than they even out.
constexpr size_t kMostLeasesEach = 64;

// The layers that a plan goes through by itself when `previous` stands in front of it.
size_t OwnLayers(const PrecisionPlan& plan, const PrecisionPlan* previous) {
  if (plan.is_exact()) return 0;  // it is compared with itself
  if (previous == nullptr) return plan.layers.size();
  const auto differ = std::ranges::mismatch(plan.layers, previous->layers);
  return static_cast<size_t>(plan.layers.end() - differ.in1);
}

// Neighbours share the longest beginnings.
std::vector<size_t> SortedPlans(std::span<const PrecisionPlan> plans) {
  std::vector<size_t> order(plans.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return plans[a] < plans[b]; });
  return order;
}

// Cuts `items` into `count` parts of about equal weight. REQUIRES: 0 < count <= items.
std::vector<std::vector<size_t>> CutEvenly(const std::vector<size_t>& items,
                                           const std::vector<double>& weights, size_t count) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::vector<size_t>> parts(count);
  size_t part = 0;
  double before = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const size_t items_left = items.size() - i, parts_left = count - part - 1;
    const double middle = before + weights[i] / 2;
    const double end = total * static_cast<double>(part + 1) / static_cast<double>(count);
    const bool is_full = !parts[part].empty() && middle > end;
    if (parts_left > 0 && (is_full || (!parts[part].empty() && items_left <= parts_left))) ++part;
    parts[part].push_back(items[i]);
    before += weights[i];
  }
  return parts;
}

std::vector<std::vector<size_t>> CutPrompts(std::span<const TokenIds> prompts, size_t count) {
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<double> tokens;
  for (const TokenIds& prompt : prompts) tokens.push_back(static_cast<double>(prompt.size()));
  return CutEvenly(order, tokens, count);
}

std::vector<std::vector<size_t>> CutPlans(std::span<const PrecisionPlan> plans, size_t count) {
  const std::vector<size_t> order = SortedPlans(plans);
  std::vector<double> layers;
  for (size_t i = 0; i < order.size(); ++i) {
    layers.push_back(
        static_cast<double>(OwnLayers(plans[order[i]], i == 0 ? nullptr : &plans[order[i - 1]])));
  }
  return CutEvenly(order, layers, count);
}

}  // namespace

std::vector<ScoreLease> SplitScoring(std::span<const PrecisionPlan> plans,
                                     std::span<const TokenIds> prompts, size_t wanted) {
  const size_t prompt_parts = std::min(wanted, prompts.size());
  const size_t plan_parts = std::min(plans.size(), (wanted + prompt_parts - 1) / prompt_parts);
  const std::vector<std::vector<size_t>> of_plans = CutPlans(plans, plan_parts);
  std::vector<ScoreLease> leases;
  for (const std::vector<size_t>& some_prompts : CutPrompts(prompts, prompt_parts)) {
    for (const std::vector<size_t>& some_plans : of_plans) {
      leases.push_back({some_plans, some_prompts});
    }
  }
  return leases;
}

std::vector<ScoreLease> WithSmallLast(std::vector<ScoreLease> leases,
                                      std::span<const PrecisionPlan> plans,
                                      std::span<const TokenIds> prompts, size_t count) {
  const std::vector<ScoreLease> last(
      leases.end() - static_cast<ptrdiff_t>(std::min(count, leases.size())), leases.end());
  leases.resize(leases.size() - last.size());
  for (const ScoreLease& lease : last) {
    const std::span<const size_t> of_plans(lease.plans), of_prompts(lease.prompts);
    for (const ScoreLease& piece :
         SplitScoring(Chosen(plans, of_plans), Chosen(prompts, of_prompts), kSmallPieces)) {
      leases.push_back({Chosen(of_plans, piece.plans), Chosen(of_prompts, piece.prompts)});
    }
  }
  return leases;
}

std::vector<std::vector<size_t>> SplitRows(const GenerationRequest& request, size_t wanted) {
  std::vector<size_t> order(request.rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // Rows of one prompt share its exact pass.
  std::vector<double> tokens;
  for (size_t row = 0; row < order.size(); ++row) {
    const size_t prompt = request.rows[row].prompt;
    const bool is_first = row == 0 || request.rows[row - 1].prompt != prompt;
    tokens.push_back(static_cast<double>(request.max_new_tokens) +
                     (is_first ? static_cast<double>(request.prompts[prompt].size()) : 0));
  }
  return CutEvenly(order, tokens, std::min(wanted, order.size()));
}

size_t WantedRowLeases(size_t rows, bool on_gpu, size_t processes) {
  const size_t each = rows / processes / (on_gpu ? kGpuRows : kCpuRows);
  return processes * std::clamp<size_t>(each, 1, kMostRowLeasesEach);
}

double ScoringWork(std::span<const PrecisionPlan> plans, std::span<const TokenIds> prompts) {
  double layers = 0, tokens = 0;
  const PrecisionPlan* previous = nullptr;
  for (const size_t i : SortedPlans(plans)) {
    layers += static_cast<double>(OwnLayers(plans[i], previous));
    previous = &plans[i];
  }
  for (const TokenIds& prompt : prompts) tokens += static_cast<double>(prompt.size());
  return layers * tokens;
}

size_t WantedLeases(double work, double seconds_per_work, double seconds, size_t processes) {
  if (seconds_per_work <= 0) return kFirstLeasesEach * processes;
  const double each = work * seconds_per_work / seconds / static_cast<double>(processes);
  const double whole = std::clamp(std::ceil(each), 1.0, static_cast<double>(kMostLeasesEach));
  return static_cast<size_t>(whole) * processes;
}

}  // namespace kvtune
