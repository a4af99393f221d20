// One run of Search: what is scored so far, what may still be spent, and the steps that spend it.
// Internal to search.cc (the run) and grouped_search.cc (the algorithms over groups).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "search/genome.h"
#include "search/pareto.h"
#include "search/search.h"

namespace kvtune {

class SearchRun {
 public:
  // Throws Error for arguments that do not fit each other.
  SearchRun(const LayerGroups& groups, std::span<const PrecisionPair> uniform_pairs,
            EvaluationCache& evaluator, const CostFunction& cost, const SearchOptions& options,
            const OnGeneration& on_generation);

  SearchResult Run();

 private:
  size_t layer_count() const { return genome_.layer_count(); }

  // search.cc
  void ScoreUniformPlans();
  void Scout();
  void ReserveForRefinement();
  void Refine();
  std::vector<PrecisionPlan> ProposeRound(size_t count) const;
  SearchSummary Summary() const;
  std::optional<double> SurrogateHypervolume() const;

  // Scores plans in order until the limit of evaluations; returns how many.
  size_t Score(std::span<const PrecisionPlan> plans);
  void ScoreAll(std::span<const PrecisionPlan> plans);
  int64_t EvaluationsLeft() const;
  // The surrogate fitted to all scores so far. REQUIRES: a scout that gave losses.
  LayerLosses FittedLosses() const;

  Objectives ObjectivesOf(const PrecisionPlan& plan) const;
  std::vector<Objectives> ObjectivesOfAll() const;
  void Report(SearchStage stage, int generation);
  // Whether the user asked to stop or the time is over, with the reason kept.
  bool Stopped(std::string_view after);
  bool stopped() const { return result_.interrupted || result_.out_of_time; }
  void StopAtLimit();
  ScoredPlan Scored(std::string name, const PrecisionPlan& plan) const;
  std::vector<ScoredPlan> Front() const;

  // grouped_search.cc
  void SearchGroups();
  bool EnumerationFits() const;
  void ScoreWholeSpace();
  void RunNsga2();
  void RunMoead();
  void RunRandom();
  void ScoreList(std::vector<PrecisionPlan> plans, std::string_view what);
  // Rounds of proposals that count as generations; false when the search is to end.
  bool ScoreProposals(int& generation);
  std::vector<Genes> FirstGenes() const;
  std::vector<Objectives> ScoreGenes(std::span<const Genes> generation);
  std::vector<Objectives> ScoreChildren(std::span<const Genes> children);
  // After a generation: reports; true when the search is to end, with the reason kept.
  bool EndsAfter(int generation);

  Genome genome_;
  std::span<const PrecisionPair> uniform_pairs_;
  EvaluationCache& evaluator_;
  const CostFunction& cost_;
  const SearchOptions& options_;
  const OnGeneration& on_generation_;
  const LayerGroups& groups_;
  int population_;
  std::vector<PrecisionPlan> uniform_plans_;
  LayerLosses layer_losses_;  // empty: no surrogate
  Objectives worst_;          // reference point of the hypervolume
  int64_t limit_;             // of distinct plans, of the current stage
  int stalled_ = 0;           // generations in a row
  bool exhaustive_ = false;
  std::string stop_reason_;
  std::vector<GenerationReport> generations_;
  SearchResult result_;
};

}  // namespace kvtune
