// The strategies of a search. Each is a function over the book of scores: it has plans scored until
// it is done, the limit is reached or it is told to stop, and it leaves the reason in the book.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "search/genome.h"
#include "search/score_book.h"

namespace kvtune {

// Whether the algorithm learns from scores. The others are baselines, and to stay comparable they
// run as they are: a small space is not scored whole in their place, and nothing is refined after
// them.
bool IsAdaptive(Algorithm algorithm);

// Scores the whole grouped space where it is small or the option `exact` asks for it, else runs the
// algorithm of the options. Throws Error for the algorithm ilp without a surrogate.
void SearchGroups(ScoreBook& book, const Genome& genome);

// Scores every plan of the genome.
void SearchWholeSpace(ScoreBook& book, const Genome& genome);
// Up to half of the generations are rounds in which the refitted surrogate's proposals are scored
// (search/grouped_proposals.h). The others are generations of NSGA-II, whose children the surrogate
// screens.
void SearchByNsga2(ScoreBook& book, const Genome& genome);
void SearchByMoead(ScoreBook& book, const Genome& genome);
// Half of the generations, and of the evaluations where they are limited, go to either soft limit.
// A plan over it loses against every plan under it, and to other plans over it by how far it is
// over (Deb's rule for constraints).
void SearchByPaper(ScoreBook& book, const Genome& genome);
void SearchByRandomPlans(ScoreBook& book, const Genome& genome);
// Scores plans that were chosen without a joint score. When the search may not score all of them,
// those it scores are spread over all sizes. `what` says to people what these plans are.
void ScorePlanList(ScoreBook& book, std::vector<PrecisionPlan> plans, std::string_view what);

// Refines the front by any plan of the shape, without groups and pruning, in rounds of up to a
// population. Each round fits the surrogate to all scores so far and scores what ProposePlans
// finds. The refinement ends after two rounds in a row that added nothing to the front. REQUIRES: a
// surrogate.
void Refine(ScoreBook& book);

// The functions below are shared by the algorithms over genes.

// Scores the plans of the genes and returns their objectives in order. Returns fewer when the limit
// of evaluations is reached.
std::vector<Objectives> ScoreGenes(ScoreBook& book, const Genome& genome,
                                   std::span<const Genes> generation);
// The genes of the first generation: uniform plans, the problem's seed plans, plans of the
// surrogate, and random ones, in this order.
std::vector<Genes> FirstGenes(const ScoreBook& book, const Genome& genome);
// To be called after a generation that was scored whole: reports it, and returns true when the
// search is to end.
bool EndsAfter(ScoreBook& book, int generation);
// To be called after a generation that the limit of evaluations cut short.
void EndAtLimitIn(ScoreBook& book, int generation);

}  // namespace kvtune
