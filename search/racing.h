// Racing: a plan that other plans clearly beat is not scored on all prompts.
//
// Prompts are scored in rounds, in the order that was drawn for the run: the first 8 (an eighth of
// them where there are more than 64), then as many again, and so on. After a round every plan is
// compared with the best rival of at most its bytes (and at most its time, in a search by time),
// prompt by prompt. It stops when the ratio R of their summed losses is above 1 with the stated
// confidence:
//
//   ln R  >  t * sqrt((1 - n/N) * sum e_i^2 / (n (n - 1))),    e_i = p_i / mean(p) - f_i / mean(f)
//
// p_i and f_i are the losses of plan and rival on prompt i, n of N prompts are scored, and t is the
// one-sided quantile of Student's t with n - 1 degrees of freedom: the delta method for a ratio of
// sums, corrected for a finite population, because the score that racing stands for is the one on
// these N prompts. A plan is tested once a round against one rival, so a plan that belongs on the
// front is lost with a chance of about (rounds * (1 - confidence)).
//
// Items of a task are right or wrong, so their losses follow another law: a plan stops when an
// exact sign test rejects, of the items on which plan and rival differ, that as many would be lost
// as gained over all N. If f items differ after n, about D = f N / n will differ in all. Had D / 2
// of them gone to either side, the number of lost ones among f drawn without replacement would be
// hypergeometric. The plan stops when so many or more are less likely than 1 - confidence, or
// when the items left cannot make up for what it lost.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/core/pareto_front.h"
#include "lib/core/plan_evaluator.h"

namespace kvtune {

enum class LossKind {
  kAmounts,   // any number, as a KL is
  kVerdicts,  // an item of a task is right or wrong
};

struct RacingOptions {
  double confidence = 0.999;  // confidence of one comparison, in (0.5, 1)
  LossKind losses = LossKind::kAmounts;
};

// The numbers of prompts after which plans may stop, ascending; the last one is all prompts.
std::vector<size_t> RacingRounds(size_t prompt_count);

// Whether the losses `plan` add up to more than the losses `rival` over all `prompt_count` prompts,
// judged by the prompts scored so far. REQUIRES: plan and rival have equal sizes of at most
// prompt_count.
bool ClearlyWorse(std::span<const double> plan, std::span<const double> rival, size_t prompt_count,
                  const RacingOptions& options);

// A plan that was scored on all prompts before.
struct Rival {
  PlanCost cost;
  const PlanScore* score = nullptr;  // complete
};

// Scores the plans, plans[i] costing costs[i]. A plan that stops gets an expected_loss instead of a
// complete score: its rival's loss on all prompts times R. By that loss the rival dominates it, so
// it is not the best plan of its size, and the plans with complete scores hold the whole front.
// REQUIRES: as many costs as plans; rivals have per_prompt.
std::vector<PlanScore> Race(PlanEvaluator& evaluator, std::span<const PrecisionPlan> plans,
                            std::span<const PlanCost> costs, std::span<const Rival> rivals,
                            const RacingOptions& options);

}  // namespace kvtune
