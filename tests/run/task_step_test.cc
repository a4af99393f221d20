#include "lib/run/task_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "lib/base/error.h"
#include "lib/core/pareto_front.h"
#include "lib/run/search_step.h"
#include "lib/run/stages.h"
#include "tests/support/fake_run.h"
#include "tests/support/sums_task.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// The share of these sums that the model of Sums gets right under the plan.
double ShareRight(const PrecisionPlan& plan, const std::vector<size_t>& numbers) {
  const auto wrong = std::ranges::count_if(numbers, [&](size_t number) {
    return (!plan.is_exact() && number == 3) || (plan.layers[0] == kKV2 && number >= 5);
  });
  return 1 - static_cast<double>(wrong) / static_cast<double>(numbers.size());
}

TEST(TaskStep, PlansOfASearchByAnswersHaveAnswersToBothPartsAndLossesOnPrompts) {
  FakeRun fake;
  Sums sums;
  fake.script.writes = sums.script.writes;
  const PreparedTask task = sums.Prepare();
  const SplitTask split{task, {.search = {0, 2, 3, 5, 6}, .test = {1, 4, 7}}};
  SearchStepOptions options;
  options.search.population = 8;
  options.search.generations = 2;
  options.by = SearchBy::kAccuracy;
  options.search_items = 5;
  const auto never = [] { return false; };
  ModelSession model(fake.inputs(), "", fake.loader());
  RunSession session(fake / "run", model.run(), {"kvtune", "search"});
  CalibrateStep(session, model, {});
  PruneStep(session, {});
  ClusterStep(session, {});

  ParetoFront front = SearchStep(session, model, options, never, &split).front;
  ASSERT_TRUE(front.search && front.search->answers);
  EXPECT_EQ(front.search->answers->search_items, 5);
  EXPECT_EQ(front.search->answers->test_items, 3);
  const std::vector<size_t> test = split.items.test;
  ASSERT_EQ(front.search->answers->searched.size(), 5U);
  for (const int64_t item : front.search->answers->searched)
    EXPECT_THAT(test, testing::Not(testing::Contains(static_cast<size_t>(item))));
  EXPECT_GT(front.search->answers->generated_tokens, 0);
  for (const ScoredPlan* plan : AllPlans(front)) {
    EXPECT_EQ(plan->calibration.prompts, std::ssize(model.prompts().calibration.prompts));
  }

  EXPECT_FALSE(TaskStep(session, model, split, front, [] { return true; }));
  ASSERT_TRUE(TaskStep(session, model, split, front, never));
  const ParetoFront kept = ParetoFrontFromJson(session.Read(Stage::kSearch), "front.json");
  for (const ScoredPlan* plan : AllPlans(kept)) {
    ASSERT_TRUE(plan->search_accuracy && plan->accuracy) << plan->name;
    EXPECT_EQ(plan->search_accuracy->items, 5);
    EXPECT_DOUBLE_EQ(plan->search_accuracy->strict, ShareRight(plan->plan, split.items.search));
    EXPECT_EQ(plan->accuracy->items, 3);
    EXPECT_DOUBLE_EQ(plan->accuracy->strict, ShareRight(plan->plan, split.items.test));
  }
  // The same command takes what is there; another split of the items is another search.
  const size_t calls = fake.script.calls.size();
  EXPECT_TRUE(SearchStep(session, model, options, never, &split).front.reference.accuracy);
  EXPECT_EQ(fake.script.calls.size(), calls);
  const SplitTask other{task, {.search = {0, 2}, .test = {1, 3, 4, 5, 6, 7}}};
  EXPECT_THAT([&] { SearchStep(session, model, options, never, &other); },
              ThrowsMessage<Error>(HasSubstr("--search-items")));
}

TEST(CheckSearchBy, OptionsThatDoNotGoTogetherAreRefused) {
  const auto message = [](bool has_task, const auto& change) -> std::string {
    SearchStepOptions options;
    change(options);
    try {
      CheckSearchBy(options, has_task);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto by_accuracy = [](SearchStepOptions& options) { options.by = SearchBy::kAccuracy; };
  EXPECT_EQ(message(false, [](SearchStepOptions&) {}), "");
  EXPECT_EQ(message(true, by_accuracy), "");
  EXPECT_THAT(message(false, by_accuracy), HasSubstr("expected --task FILE"));
  EXPECT_THAT(message(true, [](SearchStepOptions& options) { options.search_items = 1; }),
              HasSubstr("found --search-items without"));
  const auto paper = [](SearchStepOptions& options) {
    options.search.algorithm = Algorithm::kPaper;
  };
  EXPECT_THAT(message(true, paper), HasSubstr("found --algorithm paper without"));
  EXPECT_THAT(message(true,
                      [&](SearchStepOptions& options) {
                        by_accuracy(options);
                        options.search.algorithm = Algorithm::kIlp;
                      }),
              HasSubstr("found --algorithm ilp with"));
  EXPECT_THAT(message(true,
                      [&](SearchStepOptions& options) {
                        by_accuracy(options);
                        options.known_scores = "other/evaluations.jsonl";
                      }),
              HasSubstr("found both --known-scores and"));
}

// Times are a third objective, which greedy and the paper's loop do not have.
TEST(CheckSearchBy, TimesAreSearchedByAlgorithmsOfThreeObjectives) {
  for (const Word<Algorithm>& word : kAlgorithmWords) {
    SearchStepOptions options;
    options.search.algorithm = word.value;
    if (word.value == Algorithm::kPaper) options.by = SearchBy::kAccuracy;
    EXPECT_NO_THROW(CheckSearchBy(options, true)) << word.word;
    options.by_time.wanted = true;
    if (word.value == Algorithm::kGreedy || word.value == Algorithm::kPaper) {
      EXPECT_THAT([&] { CheckSearchBy(options, true); },
                  ThrowsMessage<Error>(HasSubstr("found --objective-latency with an --algorithm of "
                                                 "two objectives")))
          << word.word;
    } else {
      EXPECT_NO_THROW(CheckSearchBy(options, true)) << word.word;
    }
  }
}

}  // namespace
}  // namespace kvtune
