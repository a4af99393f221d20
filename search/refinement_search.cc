#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "search/refinement.h"
#include "search/strategies.h"

namespace kvtune {
namespace {

std::vector<PrecisionPlan> ProposeRound(const ScoreBook& book, int64_t left) {
  const SearchProblem& problem = book.problem();
  const std::vector<Objectives> objectives = book.ObjectivesOfAll();
  const auto count = std::min(book.population(), static_cast<size_t>(left));
  return ProposePlans(book.FittedLosses(), problem.cost,
                      {book.plans(), objectives, book.worst(), problem.shape}, count);
}

bool AreOnFront(const std::vector<PrecisionPlan>& plans, const ScoreBook& book) {
  return std::ranges::any_of(book.Front(), [&](const ScoredPlan& member) {
    return std::ranges::count(plans, member.plan) > 0;
  });
}

}  // namespace

void Refine(ScoreBook& book) {
  constexpr int kDullRounds = 2;  // in a row
  const std::string grouped = book.stop_reason();
  const auto end = [&](const std::string& why) {
    book.End(fmt::format("{}, then {}", grouped, why));
  };
  book.ReleaseReserve();
  const int64_t budget = std::min(book.options().refinement_evaluations, book.EvaluationsLeft());
  const auto last = static_cast<int64_t>(book.plans().size()) + budget;
  int dull_rounds = 0;
  for (int round = 1; dull_rounds < kDullRounds; ++round) {
    const int64_t left = last - static_cast<int64_t>(book.plans().size());
    if (left == 0 && book.EvaluationsLeft() == 0) return book.EndAtLimit();
    if (left == 0) return end(fmt::format("{} plans of the refinement", budget));
    if (book.Stopped(round == 1 ? "the grouped search"
                                : fmt::format("round {} of the refinement", round - 1))) {
      return;
    }
    const std::vector<PrecisionPlan> proposed = ProposeRound(book, left);
    if (proposed.empty()) return end("nothing that the refinement would try is left");
    book.ScoreAll(proposed);
    book.Report(SearchStage::kRefinement, round);
    dull_rounds = AreOnFront(proposed, book) ? 0 : dull_rounds + 1;
  }
  end(fmt::format("{} refinement rounds in a row added nothing", kDullRounds));
}

}  // namespace kvtune
