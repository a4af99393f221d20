// What searches, each strategy a function over the book of scores: it has plans scored until it is
// done, the limit is reached or it is told to stop, and leaves the reason in the book.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "search/genome.h"
#include "search/score_book.h"

namespace kvtune {

// Whether the algorithm learns from scores. The others are baselines, which stay what they are: no
// small space is scored whole in their place, and nothing is refined after them.
bool IsAdaptive(Algorithm algorithm);

// The whole grouped space where it is small or `exact` asks for it, else the algorithm of the
// options. Throws Error for the algorithm ilp without a surrogate.
void SearchGroups(ScoreBook& book, const Genome& genome);

// Every plan of the genome.
void SearchWholeSpace(ScoreBook& book, const Genome& genome);
// Up to half of the generations are rounds of what the refitted surrogate proposes
// (search/grouped_proposals.h), the others NSGA-II's, whose children it screens.
void SearchByNsga2(ScoreBook& book, const Genome& genome);
void SearchByMoead(ScoreBook& book, const Genome& genome);
void SearchByRandomPlans(ScoreBook& book, const Genome& genome);
// Plans that were chosen without a joint score, as many as the search may score, over all sizes.
// `what` they are, for people.
void ScorePlanList(ScoreBook& book, std::vector<PrecisionPlan> plans, std::string_view what);

// Any plan of the shape, without groups and pruning, in rounds of up to a population. Each fits the
// surrogate to all scores so far and scores what ProposePlans finds; it ends after two rounds in a
// row that added nothing to the front. REQUIRES: a surrogate.
void Refine(ScoreBook& book);

// Shared by the algorithms over genes.

// The objectives of the genes' plans in order, fewer when the limit of evaluations is reached.
std::vector<Objectives> ScoreGenes(ScoreBook& book, const Genome& genome,
                                   std::span<const Genes> generation);
// Uniform plans, the problem's seed plans, the surrogate's, and random ones.
std::vector<Genes> FirstGenes(const ScoreBook& book, const Genome& genome);
// After a generation that was scored whole: reports; true when the search is to end.
bool EndsAfter(ScoreBook& book, int generation);
// After a generation that the limit cut short.
void EndAtLimitIn(ScoreBook& book, int generation);

}  // namespace kvtune
