#include "lib/run/task_scorer.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/base/progress.h"
#include "lib/tasks/paired.h"

namespace kvtune {

std::string EvaluationHash(const PreparedTask& task, const Provenance& run) {
  ContentHash hash;
  for (const std::string& part :
       {task.hash(), run.model_hash, run.target, run.device, run.dtype, run.prefill,
        run.prompts_hash, std::to_string(static_cast<int>(run.scales))}) {
    hash.UpdateField(part);
  }
  return hash.Digest();
}

TaskScorer::TaskScorer(MeasuredModel& model, const PreparedTask& task, SampleLog* log)
    : model_(model), task_(task), log_(log) {
  if (!task.task().is_multiple_choice()) grader_.emplace(task.task());
}

ItemResult TaskScorer::Judged(size_t item, GeneratedText generated) const {
  Grade grade = grader_->Judge(task_.task().items[item], generated.text, task_.more_stops());
  return {std::move(generated), std::move(grade)};
}

SampleLine TaskScorer::LineOf(const std::string& name, const PrecisionPlan& plan, size_t item,
                              const ItemResult& result) const {
  const TaskItem& asked = task_.task().items[item];
  std::string answer = asked.answer;
  if (task_.task().is_multiple_choice()) answer = asked.choices[asked.correct_choice];
  if (!asked.references.empty()) answer = fmt::format("{}", fmt::join(asked.references, "\n"));
  return {.item = item,
          .plan = name,
          .spec = PlanSpec(plan),
          .prompt = task_.prompts()[item],
          .generated = result.generated,
          .extracted = result.grade.extracted,
          .flexible_extracted = result.grade.flexible_extracted,
          .answer = std::move(answer),
          .correct = result.grade.strict,
          .flexible_correct = result.grade.flexible};
}

void TaskScorer::Keep(const PrecisionPlan& plan, size_t item, ItemResult result) {
  std::vector<std::optional<ItemResult>>& of_plan = known_[plan];
  of_plan.resize(task_.task().items.size());
  of_plan[item] = std::move(result);
}

bool TaskScorer::Knows(const PrecisionPlan& plan, size_t item) const {
  const auto found = known_.find(plan);
  return found != known_.end() && found->second[item].has_value();
}

bool TaskScorer::Generate(const std::vector<PrecisionPlan>& plans, std::span<const size_t> items,
                          const std::function<bool()>& should_stop) {
  std::vector<GenerationRow> rows;
  size_t found = 0;
  for (const size_t item : items) {
    for (size_t plan = 0; plan < plans.size(); ++plan) {
      if (Knows(plans[plan], item)) continue;
      const GeneratedText* kept =
          log_ != nullptr ? log_->Find(PlanSpec(plans[plan]), item) : nullptr;
      if (kept != nullptr) {
        Keep(plans[plan], item, Judged(item, *kept));
        ++found;
      } else {
        rows.push_back({plan, item});
      }
    }
  }
  if (found > 0) LogInfo(fmt::format("{} answers are in the file of samples already", found));
  if (rows.empty()) return true;
  Progress progress(fmt::format("answering {} items under {} plans", items.size(), plans.size()),
                    static_cast<int64_t>(rows.size()), "answers");
  bool stopped = false;
  const GenerationRequest request{.plans = plans,
                                  .prompts = task_.ids(),
                                  .shared_tokens = task_.shared_tokens(),
                                  .rows = rows,
                                  .max_new_tokens = task_.task().max_new_tokens,
                                  .end_tokens = task_.end_tokens(),
                                  .stops = task_.stops()};
  model_.Generate(request, [&](const GeneratedRow& row) {
    const auto [plan, item] = rows[row.row];
    ItemResult result = Judged(item, {.text = task_.TextOf(row.tokens),
                                      .tokens = static_cast<int64_t>(row.tokens.size())});
    if (log_ != nullptr) log_->Append(LineOf(PlanSpec(plans[plan]), plans[plan], item, result));
    Keep(plans[plan], item, std::move(result));
    progress.Advance();
    stopped = stopped || (should_stop && should_stop());
    return !stopped;
  });
  if (stopped) return false;
  progress.Finish();
  return true;
}

void TaskScorer::ScoreChoices(const std::vector<PrecisionPlan>& plans,
                              std::span<const size_t> items) {
  std::vector<char> is_asked(task_.task().items.size(), 0);
  for (const size_t item : items) is_asked[item] = 1;
  std::vector<ChoiceSequence> choices;
  for (const ChoiceSequence& choice : task_.choices()) {
    if (is_asked[choice.item]) choices.push_back(choice);
  }
  std::vector<TokenIds> prompts;
  for (const ChoiceSequence& choice : choices) prompts.push_back(choice.ids);
  Progress progress(fmt::format("scoring choices under {} plans", plans.size()),
                    static_cast<int64_t>(prompts.size()), "choices");
  const std::vector<std::vector<PromptScore>> scores =
      model_.ScorePlans(plans, prompts, [&](int64_t finished) { progress.Advance(finished); });
  progress.Finish();
  for (size_t plan = 0; plan < plans.size(); ++plan) {
    std::vector<std::vector<double>> log_likelihoods(task_.task().items.size());
    for (size_t i = 0; i < choices.size(); ++i) {
      const std::vector<float>& nll = scores[plan][i].token_nll;
      log_likelihoods[choices[i].item].push_back(-std::accumulate(
          nll.end() - static_cast<ptrdiff_t>(choices[i].scored_ids), nll.end(), 0.0));
    }
    for (const size_t item : items) {
      Grade grade = JudgeChoices(task_.task().items[item], log_likelihoods[item]);
      Keep(plans[plan], item,
           {.generated = {.text = grade.extracted, .tokens = 0}, .grade = grade});
    }
  }
}

std::optional<std::vector<std::vector<ItemResult>>> TaskScorer::Score(
    std::span<const PrecisionPlan> plans, const std::function<bool()>& should_stop) {
  std::vector<size_t> items(task_.task().items.size());
  std::iota(items.begin(), items.end(), size_t{0});
  return ScoreItems(plans, items, should_stop);
}

std::optional<std::vector<std::vector<ItemResult>>> TaskScorer::ScoreItems(
    std::span<const PrecisionPlan> plans, std::span<const size_t> items,
    const std::function<bool()>& should_stop) {
  std::vector<PrecisionPlan> unknown;
  for (const PrecisionPlan& plan : plans) {
    const bool is_known =
        std::ranges::all_of(items, [&](size_t item) { return Knows(plan, item); });
    if (!is_known && std::ranges::find(unknown, plan) == unknown.end()) unknown.push_back(plan);
  }
  if (!unknown.empty()) {
    if (task_.task().is_multiple_choice()) {
      ScoreChoices(unknown, items);
    } else if (!Generate(unknown, items, should_stop)) {
      return std::nullopt;
    }
  }
  std::vector<std::vector<ItemResult>> results;
  for (const PrecisionPlan& plan : plans) {
    std::vector<ItemResult>& of_plan = results.emplace_back();
    for (const size_t item : items) of_plan.push_back(*known_.at(plan)[item]);
  }
  return results;
}

std::vector<SampleLine> TaskScorer::LinesOf(const std::string& name, const PrecisionPlan& plan,
                                            std::span<const ItemResult> results) const {
  std::vector<SampleLine> lines;
  for (size_t item = 0; item < results.size(); ++item)
    lines.push_back(LineOf(name, plan, item, results[item]));
  return lines;
}

AccuracyScore SummarizeAccuracy(const Task& task, std::span<const ItemResult> results,
                                std::span<const ItemResult> exact) {
  AccuracyScore score{.task = task.name, .items = static_cast<int64_t>(results.size())};
  std::vector<double> strict, flexible, strict_exactly;
  for (size_t i = 0; i < results.size(); ++i) {
    strict.push_back(results[i].grade.strict);
    flexible.push_back(results[i].grade.flexible);
    strict_exactly.push_back(exact[i].grade.strict);
    score.invalid += results[i].grade.is_invalid();
    score.tokens += results[i].generated.tokens;
  }
  score.strict = Mean(strict);
  score.flexible = Mean(flexible);
  score.standard_error = StandardError(strict);
  const Flips flips = CountFlips(strict_exactly, strict);
  score.lost = flips.lost;
  score.gained = flips.gained;
  score.mcnemar_p = McNemarP(flips.lost, flips.gained);
  score.difference = ScoreDifferenceInterval(strict_exactly, strict);
  score.items_to_decide = ItemsToDecide(flips);
  score.items_to_see_a_point = ItemsToSee(
      0.01, static_cast<double>(flips.lost + flips.gained) / static_cast<double>(results.size()));
  return score;
}

}  // namespace kvtune
