#include "search/additive_plans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "search/knapsack.h"
#include "search/pareto.h"

namespace kvtune {
namespace {

// What every choice adds to the bytes and loss of the plan of `base`: [gene behind the leading
// ones][choice].
std::vector<std::vector<KnapsackChoice>> GeneChoices(const Genome& genome, const Genes& base,
                                                     const LayerLosses& losses,
                                                     const CostFunction& cost) {
  Genes genes = base;
  const PrecisionPlan plan = genome.Decode(base);
  const double base_bytes = cost(plan).bytes_per_token;
  const double base_loss = PredictLoss(losses, plan);
  std::vector<std::vector<KnapsackChoice>> choices;
  for (size_t gene = genome.leading_genes(); gene < genes.size(); ++gene) {
    choices.emplace_back();
    for (int choice = 0; choice < genome.choices()[gene]; ++choice) {
      genes[gene] = choice;
      const PrecisionPlan changed = genome.Decode(genes);
      choices.back().push_back(
          {cost(changed).bytes_per_token - base_bytes, PredictLoss(losses, changed) - base_loss});
    }
    genes[gene] = base[gene];
  }
  return choices;
}

// The plans that no other one dominates by predicted loss and bytes, by ascending bytes.
std::vector<PrecisionPlan> Undominated(std::vector<PrecisionPlan> plans, const LayerLosses& losses,
                                       const CostFunction& cost) {
  std::vector<Objectives> objectives;
  for (const PrecisionPlan& plan : plans) {
    objectives.push_back(ObjectivesFor(PredictLoss(losses, plan), cost(plan)));
  }
  std::vector<PrecisionPlan> front;
  for (const size_t i : NonDominated(objectives)) front.push_back(std::move(plans[i]));
  return front;
}

// The share of time in a mixture, besides bytes alone.
constexpr double kTimeShares[] = {0.25, 0.5, 0.75, 1};

CostFunction BytesAlone(const CostFunction& cost) {
  return [cost](const PrecisionPlan& plan) {
    PlanCost bytes = cost(plan);
    bytes.latency_ms = std::nullopt;
    return bytes;
  };
}

// Bytes and time in one number, which stands in the place of bytes: both as shares of what the
// exact plan takes.
CostFunction Mixture(const CostFunction& cost, double time_share, const PlanCost& exact) {
  // The exact plan takes so many of them, in steps of the knapsack's that are fine enough to tell
  // the pairs of a layer apart, and few enough for short partial fronts.
  constexpr double kUnits = 16;
  return [cost, time_share, exact](const PrecisionPlan& plan) {
    const PlanCost own = cost(plan);
    const double bytes = own.bytes_per_token / exact.bytes_per_token;
    const double time = exact.latency_ms > 0 ? *own.latency_ms / *exact.latency_ms : 0;
    return PlanCost{.bytes_per_token = kUnits * ((1 - time_share) * bytes + time_share * time)};
  };
}

// Solves one knapsack for every choice of the leading gene, or a single one where there is no
// leading gene.
std::vector<PrecisionPlan> FrontOfGenes(const Genome& genome, const LayerLosses& losses,
                                        const CostFunction& cost) {
  std::vector<PrecisionPlan> plans;
  Genes genes(genome.gene_count(), 0);
  const int leading_choices = genome.leading_genes() == 0 ? 1 : genome.choices().front();
  for (int leading = 0; leading < leading_choices; ++leading) {
    if (genome.leading_genes() > 0) genes.front() = leading;
    for (const std::vector<size_t>& selection :
         KnapsackFront(GeneChoices(genome, genes, losses, cost))) {
      std::copy(selection.begin(), selection.end(),
                genes.begin() + static_cast<ptrdiff_t>(genome.leading_genes()));
      plans.push_back(genome.Decode(genes));
    }
  }
  return leading_choices == 1 ? plans : Undominated(std::move(plans), losses, cost);
}

// One side (keys or values) of plans in runs, considered on its own: all the runs it can have, with
// what they lose and store.
class SideFront {
 public:
  struct Member {
    double bytes = 0;
    double loss = 0;
    SideRuns runs;
  };

  SideFront(const Genome& genome, KvSide side, const LayerLosses& losses, const CostFunction& cost)
      : formats_(genome.run_formats(side)), layers_(genome.layer_count()) {
    PrecisionPlan plan = PrecisionPlan::Uniform(kExactPair, layers_);
    const double exact = cost(plan).bytes_per_token;
    for (const KvFormatId format : formats_) {
      loss_before_.emplace_back(1, 0.0);
      bytes_before_.emplace_back(1, 0.0);
      for (size_t layer = 0; layer < layers_; ++layer) {
        loss_before_.back().push_back(loss_before_.back().back() +
                                      LossOf(format, side, layer, losses));
        (side == KvSide::kKey ? plan.layers[layer].key : plan.layers[layer].value) = format;
        bytes_before_.back().push_back(bytes_before_.back().back() + cost(plan).bytes_per_token -
                                       exact);
        plan.layers[layer] = kExactPair;
      }
    }
  }

  std::vector<Member> Members() const {
    std::vector<Member> members;
    for (size_t first = 0; first < layers_; ++first) {
      for (size_t last = 0; first + last < layers_; ++last) AddAll(first, last, members);
    }
    return Thinned(std::move(members));
  }

  // The members that no other one dominates, by ascending bytes.
  static std::vector<Member> Thinned(std::vector<Member> members) {
    std::ranges::sort(members, [](const Member& a, const Member& b) {
      return std::tie(a.bytes, a.loss) < std::tie(b.bytes, b.loss);
    });
    std::vector<Member> front;
    for (const Member& member : members) {
      if (front.empty() || member.loss < front.back().loss) front.push_back(member);
    }
    return front;
  }

 private:
  // The loss of a pair with this format, when the other side takes the format that makes the layer
  // lose least. Losses are known of pairs only, so this stands for the loss of one side.
  static double LossOf(KvFormatId format, KvSide side, size_t layer, const LayerLosses& losses) {
    double least = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < losses.pairs.size(); ++i) {
      const PrecisionPair pair = losses.pairs[i];
      if ((side == KvSide::kKey ? pair.key : pair.value) == format) {
        least = std::min(least, losses.losses[layer][i]);
      }
    }
    return least;
  }

  void AddAll(size_t first, size_t last, std::vector<Member>& members) const {
    const size_t of_first = first == 0 ? 1 : formats_.size(),
                 of_last = last == 0 ? 1 : formats_.size();
    for (size_t middle = 0; middle < formats_.size(); ++middle) {
      for (size_t begin = 0; begin < of_first; ++begin) {
        if (first > 0 && begin == middle) continue;  // these are fewer runs, listed elsewhere
        for (size_t end = 0; end < of_last; ++end) {
          if (last > 0 && end == middle) continue;
          const auto sum = [&](const std::vector<std::vector<double>>& before) {
            return before[begin][first] + before[middle][layers_ - last] - before[middle][first] +
                   before[end][layers_] - before[end][layers_ - last];
          };
          members.push_back({sum(bytes_before_),
                             sum(loss_before_),
                             {formats_[begin], formats_[middle], formats_[end], first, last}});
        }
      }
    }
  }

  const std::vector<KvFormatId>& formats_;
  size_t layers_;
  std::vector<std::vector<double>> loss_before_, bytes_before_;  // [format][layers before]
};

// The runs of keys and those of values are enumerated separately and then joined, because there are
// too many combinations otherwise. What a pair loses is taken for the sum of what its sides lose.
std::vector<PrecisionPlan> FrontOfRuns(const Genome& genome, const LayerLosses& losses,
                                       const CostFunction& cost) {
  const std::vector<SideFront::Member> keys =
      SideFront(genome, KvSide::kKey, losses, cost).Members();
  const std::vector<SideFront::Member> values =
      SideFront(genome, KvSide::kValue, losses, cost).Members();
  struct Joined {
    double bytes, loss;
    size_t key, value;
  };
  std::vector<Joined> joined;
  for (size_t key = 0; key < keys.size(); ++key) {
    for (size_t value = 0; value < values.size(); ++value) {
      joined.push_back(
          {keys[key].bytes + values[value].bytes, keys[key].loss + values[value].loss, key, value});
    }
  }
  std::ranges::sort(joined, [](const Joined& a, const Joined& b) {
    return std::tie(a.bytes, a.loss, a.key, a.value) < std::tie(b.bytes, b.loss, b.key, b.value);
  });
  const size_t layers = genome.layer_count();
  std::vector<PrecisionPlan> plans;
  double least = std::numeric_limits<double>::infinity();
  for (const Joined& each : joined) {
    if (each.loss >= least) continue;
    least = each.loss;
    plans.emplace_back();
    for (size_t layer = 0; layer < layers; ++layer) {
      plans.back().layers.push_back(
          {keys[each.key].runs.at(layer, layers), values[each.value].runs.at(layer, layers)});
    }
  }
  return Undominated(std::move(plans), losses, cost);
}

}  // namespace

LayerLosses SensitivityLosses(const SensitivityTable& table) {
  LayerLosses losses;
  losses.pairs = table.pairs;
  for (const LayerSensitivity& layer : table.layers) {
    losses.losses.emplace_back();
    for (const PairErrors& errors : layer.errors) losses.losses.back().push_back(errors.e_o);
  }
  return losses;
}

std::vector<PrecisionPlan> GreedyPlans(const Genome& genome, const LayerLosses& losses,
                                       const CostFunction& cost) {
  struct Step {
    Genes genes;
    double bytes = 0;
    double loss = 0;
  };
  const auto step_to = [&](Genes genes) {
    const PrecisionPlan plan = genome.Decode(genes);
    return Step{std::move(genes), cost(plan).bytes_per_token, PredictLoss(losses, plan)};
  };
  Step now = step_to(Genes(genome.gene_count(), 0));
  std::vector<PrecisionPlan> plans = {genome.Decode(now.genes)};
  while (true) {
    double cheapest = std::numeric_limits<double>::infinity();
    std::optional<Step> best;
    for (size_t gene = 0; gene < now.genes.size(); ++gene) {
      Genes genes = now.genes;
      for (int choice = 0; choice < genome.choices()[gene]; ++choice) {
        genes[gene] = choice;
        Step next = step_to(genes);
        // Two sums of the same bytes may differ by rounding, which must not count as bytes saved.
        if (next.bytes >= now.bytes * (1 - 1e-12)) continue;
        const double loss_per_byte = (next.loss - now.loss) / (now.bytes - next.bytes);
        if (loss_per_byte >= cheapest) continue;
        cheapest = loss_per_byte;
        best = std::move(next);
      }
    }
    if (!best) return plans;
    now = *std::move(best);
    plans.push_back(genome.Decode(now.genes));
  }
}

std::vector<PrecisionPlan> AdditiveFront(const Genome& genome, const LayerLosses& losses,
                                         const CostFunction& cost) {
  const auto front_by = [&](const CostFunction& by) {
    return genome.shape().kind == ShapeKind::kRuns ? FrontOfRuns(genome, losses, by)
                                                   : FrontOfGenes(genome, losses, by);
  };
  const PlanCost exact = cost(PrecisionPlan::Uniform(kExactPair, genome.layer_count()));
  if (!exact.latency_ms) return front_by(cost);
  std::vector<PrecisionPlan> plans = front_by(BytesAlone(cost));
  for (const double share : kTimeShares) {
    for (PrecisionPlan& plan : front_by(Mixture(cost, share, exact)))
      plans.push_back(std::move(plan));
  }
  return Undominated(std::move(plans), losses, cost);
}

std::vector<PrecisionPlan> SurrogateFront(const LayerLosses& losses, const CostFunction& cost,
                                          const PlanShape& shape) {
  LayerGroups layers;
  for (size_t layer = 0; layer < losses.layer_count(); ++layer) {
    layers.groups.push_back({{layer}, losses.pairs});
  }
  return AdditiveFront(Genome(layers, shape), losses, cost);
}

std::vector<PrecisionPlan> ThinOverBytes(std::span<const PrecisionPlan> plans,
                                         const CostFunction& cost, size_t count) {
  if (plans.size() <= count) return {plans.begin(), plans.end()};
  std::vector<PrecisionPlan> thinned;
  if (count == 0) return thinned;
  const double smallest = cost(plans.front()).bytes_per_token;
  const double largest = cost(plans.back()).bytes_per_token;
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    const double wanted = count == 1 ? smallest
                                     : smallest + (largest - smallest) * static_cast<double>(i) /
                                                      static_cast<double>(count - 1);
    // The last plan that may be taken here, so that enough plans are left for the sizes that
    // follow.
    const size_t last = plans.size() - (count - i);
    while (next < last && std::abs(cost(plans[next + 1]).bytes_per_token - wanted) <=
                              std::abs(cost(plans[next]).bytes_per_token - wanted)) {
      ++next;
    }
    thinned.push_back(plans[next++]);
  }
  return thinned;
}

}  // namespace kvtune
