// kvtune's own way through the grouped space: proposals of the surrogate, then NSGA-II with its
// children screened by it.
#include <algorithm>
#include <utility>

#include "lib/base/random.h"
#include "search/grouped_proposals.h"
#include "search/nsga2.h"
#include "search/strategies.h"

namespace kvtune {
namespace {

// Which children of a generation are scored, and what is known or expected of all of them.
struct Screening {
  std::vector<Objectives> objectives;  // of every child; expected ones until it is scored
  std::vector<PrecisionPlan> plans;    // of the children to be scored
  std::vector<size_t> places;          // the indices of those among the children
  // The plans that are scored or about to be, with their known or expected objectives.
  std::vector<PrecisionPlan> known;
  std::vector<Objectives> of_known;
};

// Children that the surrogate expects to be clearly dominated are not scored. One child in four
// always goes through, so that what the surrogate is wrong about is found.
Screening Screen(const ScoreBook& book, const Genome& genome, const LayerLosses& fitted,
                 std::span<const Genes> children) {
  constexpr size_t kUnscreened = 4;
  constexpr double kMargin = 0.15;  // decades, about the error of a good fit
  const std::vector<Objectives> scored = book.ObjectivesOfAll();
  Screening screening{
      .objectives = {}, .plans = {}, .places = {}, .known = book.plans(), .of_known = scored};
  for (size_t i = 0; i < children.size(); ++i) {
    PrecisionPlan plan = genome.Decode(children[i]);
    const Objectives expected = PredictObjectives(fitted, book.problem().cost, plan);
    screening.objectives.push_back(expected);
    const bool dominated = std::ranges::any_of(scored, [&](const Objectives& member) {
      return member.bytes <= expected.bytes && member.milliseconds <= expected.milliseconds &&
             member.loss + kMargin <= expected.loss;
    });
    const bool is_new = !book.IsScored(plan);
    if (dominated && is_new && i % kUnscreened != 0) continue;
    if (is_new) {
      screening.known.push_back(plan);
      screening.of_known.push_back(expected);
    }
    screening.plans.push_back(std::move(plan));
    screening.places.push_back(i);
  }
  return screening;
}

// Scores the children that pass the screening. For the others NSGA-II is told the expected
// objectives, and up to as many of the surrogate's proposals are scored in their place.
std::vector<Objectives> ScoreChildren(ScoreBook& book, const Genome& genome,
                                      std::span<const Genes> children) {
  if (!book.has_surrogate()) return ScoreGenes(book, genome, children);
  const SearchProblem& problem = book.problem();
  const LayerLosses fitted = book.FittedLosses();
  Screening screening = Screen(book, genome, fitted, children);
  std::vector<PrecisionPlan>& plans = screening.plans;
  const size_t own = plans.size();
  for (PrecisionPlan& plan :
       ProposeGroupedPlans(genome, fitted, problem.cost,
                           {screening.known, screening.of_known, book.worst(), problem.shape},
                           children.size() - own)) {
    plans.push_back(std::move(plan));
  }
  if (book.Score(plans) < own) return {};
  for (size_t k = 0; k < own; ++k) {
    screening.objectives[screening.places[k]] = book.ObjectivesOf(plans[k]);
  }
  return std::move(screening.objectives);
}

// Scores rounds of the surrogate's proposals, which count as generations. Returns false when the
// search is to end. The surrogate is refitted after every round, so that it becomes accurate near
// the front. At most half of the generations are spent so, because only NSGA-II can find what an
// additive model cannot see.
bool ScoreProposals(ScoreBook& book, const Genome& genome, int& generation) {
  if (!book.has_surrogate()) return true;
  const SearchProblem& problem = book.problem();
  while (generation < book.options().generations / 2) {
    const std::vector<Objectives> objectives = book.ObjectivesOfAll();
    const std::vector<PrecisionPlan> plans = ProposeGroupedPlans(
        genome, book.FittedLosses(), problem.cost,
        {book.plans(), objectives, book.worst(), problem.shape}, book.population());
    if (plans.empty()) return true;
    ++generation;
    if (book.Score(plans) < plans.size()) {
      EndAtLimitIn(book, generation);
      return false;
    }
    if (EndsAfter(book, generation)) return false;
    if (book.stalled() > 0) return true;
  }
  return true;
}

Nsga2Options OptionsOf(const SearchOptions& options, const Genome& genome) {
  const double one_gene = 1.0 / static_cast<double>(genome.gene_count());
  return {.crossover_probability = options.crossover_probability,
          .mutation_probability =
              options.mutation_probability > 0 ? options.mutation_probability : one_gene,
          .seed = DeriveSeed(options.seed, SeedPurpose::kNsga2)};
}

}  // namespace

void SearchByNsga2(ScoreBook& book, const Genome& genome) {
  int generation = 0;
  if (!ScoreProposals(book, genome, generation)) return;
  const std::vector<Genes> first = FirstGenes(book, genome);
  const std::vector<Objectives> objectives = ScoreGenes(book, genome, first);
  ++generation;
  if (objectives.size() < first.size()) return EndAtLimitIn(book, generation);
  if (EndsAfter(book, generation)) return;
  Nsga2 nsga2(
      genome.choices(), first, objectives,
      [&](std::span<const Genes> children) { return ScoreChildren(book, genome, children); },
      OptionsOf(book.options(), genome));
  do {
    ++generation;
    if (!nsga2.Evolve()) return EndAtLimitIn(book, generation);
  } while (!EndsAfter(book, generation));
}

}  // namespace kvtune
