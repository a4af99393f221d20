#include "search/search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/core/objective.h"
#include "search/pareto.h"
#include "search/scouting.h"
#include "tests/support/fake_evaluator.h"
#include "tests/support/scored_space.h"
#include "tests/support/test_data.h"

namespace kvtune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

const std::vector<PrecisionPair> kFive = {kKV8, kK8V4, kKV4, kK4V2, kKV2};

SearchProblem Problem(LayerGroups groups, std::vector<PrecisionPair> uniform_pairs) {
  return {.groups = std::move(groups), .uniform_pairs = std::move(uniform_pairs), .cost = FakeCost};
}

// Two orders of magnitude apart, as layers of real models are.
std::vector<double> RandomWeights(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<double> weights(count);
  for (double& weight : weights) weight = std::pow(10.0, 2 * random.Unit() - 1);
  return weights;
}

Objectives ObjectivesOf(const ScoredPlan& plan) {
  return {plan.calibration.kl_mean, plan.cost.bytes_per_token};
}

// Nothing measured: every isolated loss has to be scored.
SensitivityTable PlainTable(size_t layer_count) {
  return TableOf(NinePairs(), std::vector(layer_count, std::vector<double>(9, 0.0)));
}

LayerLosses Scouted(size_t layer_count, FakeEvaluator& fake) {
  EvaluationCache scout(fake);
  return MeasureLayerLosses(PlainTable(layer_count), scout);
}

std::vector<std::string> Names(const std::vector<ScoredPlan>& plans) {
  std::vector<std::string> names;
  for (const ScoredPlan& plan : plans) names.push_back(plan.name);
  return names;
}

TEST(Search, TwoLayersAreEnumeratedAndTheFrontIsKnown) {
  // Layer 0 matters ten times as much: of the mixed plans only the one that spares it is worth its
  // bytes.
  FakeEvaluator fake({10, 1});
  EvaluationCache cache(fake);
  const SearchResult result =
      Search(Problem(OneLayerGroups(2, {kKV8, kKV4}), std::vector{kKV8, kKV4}), cache, {});
  EXPECT_TRUE(result.summary.exhaustive);
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(result.summary.stop_reason, "the grouped space of 4 plans is scored whole");
  EXPECT_THAT(Names(result.front), ElementsAre("p00", "p01", "p02"));
  EXPECT_THAT(result.front[0].plan.layers, ElementsAre(kKV8, kKV8));
  EXPECT_THAT(result.front[1].plan.layers, ElementsAre(kKV8, kKV4));
  EXPECT_THAT(result.front[2].plan.layers, ElementsAre(kKV4, kKV4));
  EXPECT_THAT(Names(result.uniform), ElementsAre("KV8", "KV4"));
  EXPECT_EQ(result.reference.name, "exact");
  EXPECT_TRUE(result.reference.plan.is_exact());
  EXPECT_EQ(result.reference.calibration.kl_mean, 0);
  EXPECT_EQ(cache.distinct_plans(), 5);
}

TEST(Search, ExactAndUniformPlansComeFirstInOneBatch) {
  FakeEvaluator fake(RandomWeights(6, 1));
  EvaluationCache cache(fake);
  const std::vector<PrecisionPair> nine = NinePairs();
  const SearchResult result = Search(Problem(OneLayerGroups(6, kFive), nine), cache, {});
  ASSERT_FALSE(fake.batches().empty());
  ASSERT_THAT(fake.batches()[0], SizeIs(10));
  EXPECT_TRUE(fake.batches()[0][0].is_exact());
  for (size_t i = 0; i < nine.size(); ++i) {
    EXPECT_EQ(fake.batches()[0][i + 1], PrecisionPlan::Uniform(nine[i], 6));
    EXPECT_EQ(result.uniform[i].plan, PrecisionPlan::Uniform(nine[i], 6));
    EXPECT_EQ(result.uniform[i].name, PairLabel(nine[i]));
  }
}

TEST(Search, FrontHoldsNoPlanThatAnyScoredPlanDominates) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    FakeEvaluator fake(RandomWeights(8, seed), 5);
    EvaluationCache cache(fake);
    SearchOptions options;
    options.seed = seed;
    options.generations = 6;
    const SearchResult result =
        Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options);
    for (const ScoredPlan& member : result.front) {
      for (const PrecisionPlan& plan : cache.plans()) {
        EXPECT_FALSE(Dominates({cache.ScoreOf(plan).kl_mean, FakeCost(plan).bytes_per_token},
                               ObjectivesOf(member)));
      }
      EXPECT_FALSE(member.plan.is_exact());
    }
    for (size_t i = 1; i < result.front.size(); ++i) {
      EXPECT_GT(result.front[i - 1].cost.bytes_per_token, result.front[i].cost.bytes_per_token);
      EXPECT_LT(result.front[i - 1].calibration.kl_mean, result.front[i].calibration.kl_mean);
    }
  }
}

TEST(Search, PlansNearTheFrontAreAllThatAreWithinTheFactor) {
  FakeEvaluator fake(RandomWeights(6, 5), 0, 12);
  EvaluationCache cache(fake);
  SearchProblem problem = Problem(OneLayerGroups(6, kFive), kFive);
  const SearchResult result = Search(problem, cache, {.racing = std::nullopt});
  const auto factor = [&](const PrecisionPlan& plan) {
    double best = INFINITY;
    for (const ScoredPlan& member : result.front) {
      if (member.cost.bytes_per_token <= FakeCost(plan).bytes_per_token)
        best = std::min(best, member.calibration.kl_mean);
    }
    return cache.ScoreOf(plan).kl_mean / best;
  };
  const auto listed = [](const std::vector<ScoredPlan>& plans, const PrecisionPlan& plan) {
    return std::ranges::count(plans, plan, &ScoredPlan::plan) > 0;
  };
  ASSERT_FALSE(result.near.empty());
  EXPECT_LE(result.near.size(), kMostNearPlans);
  EXPECT_EQ(result.near[0].name, "n00");
  double farthest = 0;
  for (const ScoredPlan& plan : result.near) {
    EXPECT_FALSE(listed(result.front, plan.plan) || listed(result.uniform, plan.plan));
    EXPECT_FALSE(plan.plan.is_exact());
    farthest = std::max(farthest, factor(plan.plan));
  }
  EXPECT_LE(farthest, kNearFactor);
  for (const PrecisionPlan& plan : cache.plans()) {
    if (plan.is_exact() || listed(result.front, plan) || listed(result.uniform, plan)) continue;
    if (listed(result.near, plan)) continue;
    EXPECT_GE(factor(plan), result.near.size() == kMostNearPlans ? farthest : kNearFactor);
  }
}

// Loses what a function of the plan says, the same on each of four prompts.
class EvaluatorOfFunction : public PlanEvaluator {
 public:
  using Loss = std::function<double(const PrecisionPlan&)>;
  EvaluatorOfFunction(size_t layer_count, Loss loss)
      : layer_count_(layer_count), loss_(std::move(loss)) {}

  size_t layer_count() const override { return layer_count_; }
  size_t prompt_count() const override { return 4; }
  std::vector<std::vector<PromptScore>> ScorePrompts(std::span<const PrecisionPlan> plans,
                                                     PromptRange range) override {
    batches.emplace_back(plans.begin(), plans.end());
    std::vector<std::vector<PromptScore>> scores;
    for (const PrecisionPlan& plan : plans)
      scores.emplace_back(range.end - range.begin, FakePromptScore(loss_(plan), 256));
    return scores;
  }

  std::vector<std::vector<PrecisionPlan>> batches;

 private:
  size_t layer_count_;
  Loss loss_;
};

// Of two plans of the same bytes the worse one loses twice as much as the better one, or more.
TEST(Search, APlanAtTheFactorItselfIsNearTheFront) {
  const auto near = [](double factor) {
    EvaluatorOfFunction evaluator(2, [&](const PrecisionPlan& plan) {
      if (plan.is_exact()) return 0.0;
      if (plan.layers[0] == plan.layers[1]) return plan.layers[0] == kKV8 ? 0.25 : 2.0;
      return plan.layers[0] == kKV8 ? 0.5 : 0.5 * factor;
    });
    EvaluationCache cache(evaluator);
    return Search(Problem(OneLayerGroups(2, {kKV8, kKV4}), {kKV8, kKV4}), cache, {}).near;
  };
  ASSERT_THAT(near(kNearFactor), SizeIs(1));
  EXPECT_THAT(near(kNearFactor)[0].plan.layers, ElementsAre(kKV4, kKV8));
  EXPECT_THAT(near(kNearFactor + 1.0 / 1024), IsEmpty());
}

// What every layer's pairs lose, the same in all layers, and the batches of a search by NSGA-II
// whose surrogate knows it. Every gene of a child is drawn anew.
std::vector<std::vector<PrecisionPlan>> BatchesOfGenerations(
    const std::vector<PrecisionPair>& pairs, const std::vector<double>& losses,
    const std::vector<PrecisionPair>& candidates, const std::vector<PrecisionPair>& uniform) {
  constexpr size_t kLayers = 12;
  const LayerLosses known = {pairs, std::vector(kLayers, losses)};
  EvaluatorOfFunction evaluator(
      kLayers, [&](const PrecisionPlan& plan) { return PredictLoss(known, plan); });
  EvaluationCache cache(evaluator);
  SearchOptions options;
  options.population = 8;
  options.generations = 3;
  options.mutation_probability = 1;
  options.refinement_evaluations = 0;
  options.racing.reset();
  SearchHooks hooks;
  hooks.scout = [&] { return known; };
  Search(Problem(OneLayerGroups(kLayers, candidates), uniform), cache, options, hooks);
  return evaluator.batches;
}

// The plan of KV2 alone is the smallest, and loses least by far: nothing else is worth a proposal.
TEST(Search, OfTheChildrenThatAreClearlyDominatedOneInFourIsScored) {
  const std::vector<PrecisionPair> pairs = {kKV8, kKV4, kKV2};
  const auto batches = BatchesOfGenerations(pairs, {1, 1, 1e-3}, pairs, pairs);
  ASSERT_THAT(batches, SizeIs(4));  // the uniform plans and three generations
  EXPECT_THAT(batches[2], SizeIs(2));
  EXPECT_THAT(batches[3], SizeIs(2));
}

// Smaller plans lose more, if little more. All lose more than the only uniform plan, so that none
// is worth a proposal.
TEST(Search, ChildrenThatNoPlanBeatsInBytesAndInLossAreAllScored) {
  const auto batches =
      BatchesOfGenerations({kKV8, kKV4, kKV2}, {1e-3, 1, 1.1}, {kKV4, kKV2}, {kKV8});
  ASSERT_THAT(batches, SizeIs(4));
  EXPECT_THAT(batches[2], SizeIs(8));
  EXPECT_THAT(batches[3], SizeIs(8));
}

TEST(Search, SameSeedGivesTheSameResult) {
  const auto search = [](uint64_t seed) {
    FakeEvaluator fake(RandomWeights(8, 3), 5);
    EvaluationCache cache(fake);
    SearchOptions options;
    options.seed = seed;
    options.generations = 5;
    Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options);
    return fake.batches();
  };
  EXPECT_EQ(search(1), search(1));
  EXPECT_NE(search(1), search(2));
}

TEST(Search, Nsga2ReachesMostOfTheEnumeratedHypervolume) {
  const std::vector<PrecisionPair> three = {kKV8, kKV4, kKV2};
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const auto hypervolume = [&](int64_t enumerate_up_to) {
      FakeEvaluator fake(RandomWeights(7, seed));
      EvaluationCache cache(fake);
      SearchOptions options;
      options.seed = seed;
      options.enumerate_up_to = enumerate_up_to;
      const SearchResult result = Search(Problem(OneLayerGroups(7, three), three), cache, options);
      EXPECT_EQ(result.summary.exhaustive, enumerate_up_to > 0);
      return result.summary.generations.back().hypervolume;
    };
    const double best = hypervolume(3 * 3 * 3 * 3 * 3 * 3 * 3);
    EXPECT_GE(hypervolume(0), 0.96 * best) << "seed " << seed;
  }
}

TEST(Search, Nsga2IsAheadOfTheIntegerProgramWithAsManyPlans) {
  // Both know the same isolated losses, each off by up to a factor of two, which joint scores tell.
  // On average: a plan for a round may be spent where nothing is.
  double sum_of_ratios = 0;
  constexpr uint64_t kSeeds = 12;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const auto search = [&](Algorithm algorithm, int64_t max_evaluations) {
      const std::vector<double> weights = RandomWeights(6, seed);
      FakeEvaluator fake(weights, 2), scout(weights, 2);
      EvaluationCache cache(fake);
      SearchOptions options;
      SearchHooks hooks;
      options.algorithm = algorithm;
      options.seed = seed;
      options.max_evaluations = max_evaluations;
      options.refinement_evaluations = 0;
      hooks.scout = [&] {
        LayerLosses losses = Scouted(6, scout);
        Random random(seed);
        for (std::vector<double>& layer : losses.losses) {
          for (double& loss : layer) loss *= std::pow(2.0, 2 * random.Unit() - 1);
        }
        return losses;
      };
      return Search(Problem(OneLayerGroups(6, kFive), NinePairs()), cache, options, hooks).summary;
    };
    const SearchSummary ilp = search(Algorithm::kIlp, 0);
    const SearchSummary nsga2 = search(Algorithm::kNsga2, ilp.distinct_plans);
    EXPECT_LE(nsga2.distinct_plans, ilp.distinct_plans);
    const double ratio = nsga2.generations.back().hypervolume / ilp.generations.back().hypervolume;
    EXPECT_GT(ratio, 0.999) << "seed " << seed;
    sum_of_ratios += ratio;
  }
  EXPECT_GT(sum_of_ratios / kSeeds, 1.001);
}

// The batches of a search of eight layers, whose single layers were scouted.
std::vector<std::vector<PrecisionPlan>> BatchesOf(int generations, uint64_t seed,
                                                  int population = SearchOptions().population) {
  const std::vector<double> weights = RandomWeights(8, 3);
  FakeEvaluator fake(weights, 5), scout(weights, 5);
  EvaluationCache cache(fake);
  SearchOptions options;
  SearchHooks hooks;
  options.seed = seed;
  options.population = population;
  options.generations = generations;
  options.refinement_evaluations = 0;
  hooks.scout = [&] { return Scouted(8, scout); };
  const SearchResult result =
      Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options, hooks);
  EXPECT_EQ(result.summary.generations.back().generation, generations);
  return fake.batches();
}

TEST(Search, HalfOfTheGenerationsAreProposalsAndTheOthersDependOnTheSeed) {
  for (const size_t generations : {1, 2, 6}) {
    const auto of_one = BatchesOf(static_cast<int>(generations), 1);
    const auto of_two = BatchesOf(static_cast<int>(generations), 2);
    const size_t proposals = generations / 2;
    ASSERT_GT(of_one.size(), 1 + proposals);
    for (size_t i = 0; i <= proposals; ++i) EXPECT_EQ(of_one[i], of_two[i]);
    EXPECT_NE(of_one[1 + proposals], of_two[1 + proposals]);
  }
}

// Layers lose far more together than alone, so that no proposal is better than the uniform plans.
TEST(Search, ProposalsEndAfterTheFirstRoundThatAddsNothing) {
  const auto batches = [](uint64_t seed) {
    constexpr size_t kLayers = 8;
    EvaluatorOfFunction evaluator(kLayers, [](const PrecisionPlan& plan) {
      const bool is_uniform = plan == PrecisionPlan::Uniform(plan.layers[0], kLayers);
      return is_uniform ? kLayers * FakePairError(plan.layers[0]) : 100.0;
    });
    EvaluationCache cache(evaluator);
    SearchOptions options;
    options.seed = seed;
    options.refinement_evaluations = 0;
    options.racing.reset();
    SearchHooks hooks;
    hooks.scout = [] { return TrueLosses(std::vector(kLayers, 1.0)); };
    const SearchSummary summary =
        Search(Problem(OneLayerGroups(kLayers, kFive), NinePairs()), cache, options, hooks).summary;
    EXPECT_EQ(summary.generations[1].hypervolume, summary.generations[0].hypervolume);
    return evaluator.batches;
  };
  const auto of_one = batches(1), of_two = batches(2);
  EXPECT_EQ(of_one[1], of_two[1]);
  EXPECT_NE(of_one[2], of_two[2]);  // a first generation, whose plans are drawn
}

// Proposals come before NSGA-II, which is not begun when the search ends among them.
TEST(Search, MayEndAmongTheProposals) {
  const auto search = [](const SearchOptions& options, SearchHooks hooks) {
    const std::vector<double> weights = RandomWeights(8, 3);
    FakeEvaluator fake(weights, 5), scout(weights, 5);
    EvaluationCache cache(fake);
    hooks.scout = [&] { return Scouted(8, scout); };
    const SearchSummary summary =
        Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options, hooks).summary;
    EXPECT_THAT(summary.generations, SizeIs(2));  // the uniform plans and one round
    EXPECT_EQ(fake.batches().size(), 2u);
    return summary;
  };
  SearchOptions options;
  options.racing.reset();
  options.refinement_evaluations = 0;
  SearchHooks hooks;
  int asked = 0;
  hooks.should_stop = [&] { return ++asked == 3; };  // uniform plans, scouting, generation 1
  EXPECT_EQ(search(options, hooks).stop_reason, "stopped after generation 1 of 8");
  options.max_evaluations = 15;
  const SearchSummary limited = search(options, {});
  EXPECT_EQ(limited.stop_reason, "the limit of 15 evaluations is reached");
  EXPECT_EQ(limited.distinct_plans, 15);
}

TEST(Search, DefaultBudgetScoresAHundredToAHundredAndEightyPlans) {
  for (const size_t groups : {8, 12, 16}) {
    FakeEvaluator fake(RandomWeights(groups, groups), 2);
    EvaluationCache cache(fake);
    SearchOptions options;
    SearchHooks hooks;
    hooks.scout = [&] { return Scouted(groups, fake); };
    Search(Problem(OneLayerGroups(groups, kFive), NinePairs()), cache, options, hooks);
    EXPECT_GE(cache.distinct_plans(), 100) << groups << " groups";
    EXPECT_LE(cache.distinct_plans(), 180) << groups << " groups";
  }
}

TEST(Search, ReportsGrowAndEndWithTheFront) {
  FakeEvaluator fake(RandomWeights(8, 3), 5);
  EvaluationCache cache(fake);
  std::vector<GenerationReport> reports;
  SearchOptions options;
  options.generations = 7;
  const SearchResult result =
      Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options,
             {.progress = [&](const GenerationReport& report) { reports.push_back(report); }});
  ASSERT_THAT(reports, SizeIs(8));
  EXPECT_THAT(result.summary.generations, SizeIs(8));
  for (size_t i = 0; i < reports.size(); ++i) {
    EXPECT_EQ(reports[i].generation, static_cast<int>(i));
    if (i == 0) continue;
    EXPECT_GE(reports[i].distinct_plans, reports[i - 1].distinct_plans);
    EXPECT_GE(reports[i].hypervolume, reports[i - 1].hypervolume);
  }
  EXPECT_EQ(reports[0].distinct_plans, 10);
  EXPECT_EQ(reports.back().front_size, result.front.size());
  EXPECT_EQ(reports.back().distinct_plans, cache.distinct_plans());
  EXPECT_EQ(result.summary.stop_reason, "7 generations are done");
}

TEST(Search, LimitOfEvaluationsIsNeverExceeded) {
  for (const int64_t limit : {10, 11, 33, 34, 50, 80}) {
    FakeEvaluator fake(RandomWeights(8, 3), 5);
    EvaluationCache cache(fake);
    SearchOptions options;
    options.max_evaluations = limit;
    const SearchResult result =
        Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options);
    EXPECT_EQ(cache.distinct_plans(), limit);
    EXPECT_EQ(result.summary.stop_reason,
              "the limit of " + std::to_string(limit) + " evaluations is reached");
    EXPECT_FALSE(result.interrupted);
    EXPECT_FALSE(result.front.empty());
  }
}

TEST(Search, LimitUnderTheUniformPlansIsRefused) {
  FakeEvaluator fake({1, 1});
  EvaluationCache cache(fake);
  SearchOptions options;
  options.max_evaluations = 9;
  EXPECT_THAT(
      [&] { Search(Problem(OneLayerGroups(2, kFive), NinePairs()), cache, options); },
      ThrowsMessage<Error>(StrEq("searching: found a limit of 9 evaluations, expected at least 10 "
                                 "for the exact and the uniform plans")));
  EXPECT_TRUE(fake.batches().empty());
}

TEST(Search, WholeSpaceIsScoredOnlyWhenItFitsTheLimit) {
  FakeEvaluator fake({3, 2, 1});
  EvaluationCache cache(fake);
  SearchOptions options;
  options.max_evaluations = 25;  // of 27 and the exact plan
  const std::vector<PrecisionPair> three = {kKV8, kKV4, kKV2};
  const SearchResult result = Search(Problem(OneLayerGroups(3, three), three), cache, options);
  EXPECT_FALSE(result.summary.exhaustive);
  EXPECT_LE(cache.distinct_plans(), 25);
}

TEST(Search, StopIsAskedBetweenGenerationsAndKeepsWhatIsScored) {
  FakeEvaluator fake(RandomWeights(8, 3));
  EvaluationCache cache(fake);
  SearchOptions options;
  SearchHooks hooks;
  int asked = 0;
  hooks.should_stop = [&] { return ++asked == 4; };
  const SearchResult result =
      Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options, hooks);
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.summary.stop_reason, "stopped after generation 3 of 8");
  EXPECT_THAT(result.summary.generations, SizeIs(4));
  EXPECT_FALSE(result.front.empty());
}

TEST(Search, EnumerationCanBeStoppedToo) {
  FakeEvaluator fake({4, 3, 2, 1});
  EvaluationCache cache(fake);
  SearchOptions options;
  SearchHooks hooks;
  options.population = 20;
  hooks.should_stop = [&] { return cache.distinct_plans() > 30; };
  const std::vector<PrecisionPair> three = {kKV8, kKV4, kKV2};
  const SearchResult result =
      Search(Problem(OneLayerGroups(4, three), three), cache, options, hooks);
  EXPECT_TRUE(result.interrupted);
  EXPECT_FALSE(result.summary.exhaustive);
  EXPECT_EQ(result.summary.stop_reason, "stopped after 40 of 81 plans of the grouped space");
}

TEST(Search, StopsAfterTheUniformPlans) {
  FakeEvaluator fake({1, 1});
  EvaluationCache cache(fake);
  SearchOptions options;
  SearchHooks hooks;
  hooks.should_stop = [] { return true; };
  const SearchResult result =
      Search(Problem(OneLayerGroups(2, kFive), NinePairs()), cache, options, hooks);
  EXPECT_EQ(result.summary.stop_reason, "stopped after the uniform plans");
  EXPECT_THAT(fake.batches(), SizeIs(1));
  EXPECT_THAT(result.uniform, SizeIs(9));
}

TEST(Search, GroupsWithoutAChoiceAreOnePlan) {
  LayerGroups groups;
  groups.groups = {{{0}, {kKV8}}, {{1}, {kKV4}}};
  FakeEvaluator fake({10, 1});
  EvaluationCache cache(fake);
  SearchOptions options;
  options.enumerate_up_to = 0;
  const SearchResult result = Search(Problem(groups, std::vector{kKV8, kKV4}), cache, options);
  EXPECT_TRUE(result.summary.exhaustive);
  EXPECT_EQ(cache.distinct_plans(), 4);
  ASSERT_THAT(result.front, SizeIs(3));
  EXPECT_THAT(result.front[1].plan.layers, ElementsAre(kKV8, kKV4));
}

TEST(Search, PopulationsThatPagmoDoesNotTakeAreRoundedUp) {
  for (const int population : {1, 4, 7}) {
    for (const Algorithm algorithm : {Algorithm::kNsga2, Algorithm::kMoead, Algorithm::kRandom}) {
      FakeEvaluator fake(RandomWeights(6, 3), 5);
      EvaluationCache cache(fake);
      SearchOptions options;
      options.algorithm = algorithm;
      options.population = population;
      options.generations = 2;
      options.enumerate_up_to = 0;
      const SearchResult result =
          Search(Problem(OneLayerGroups(6, kFive), NinePairs()), cache, options);
      EXPECT_EQ(result.summary.stop_reason, "2 generations are done") << population;
      // The first generation has eight plans, of which some are uniform and so known.
      EXPECT_GT(cache.distinct_plans(), 10 + 8 - 5) << population;
      EXPECT_LE(cache.distinct_plans(), 10 + 2 * 8) << population;
      EXPECT_FALSE(result.front.empty());
    }
  }
}

TEST(Search, OneEvaluationMoreThanTheUniformPlansIsSpent) {
  for (const Algorithm algorithm : {Algorithm::kNsga2, Algorithm::kMoead, Algorithm::kRandom}) {
    FakeEvaluator fake(RandomWeights(6, 3), 5);
    EvaluationCache cache(fake);
    SearchOptions options;
    options.algorithm = algorithm;
    options.max_evaluations = 11;
    options.enumerate_up_to = 0;
    const SearchResult result =
        Search(Problem(OneLayerGroups(6, kFive), NinePairs()), cache, options);
    EXPECT_EQ(cache.distinct_plans(), 11);
    EXPECT_EQ(result.summary.stop_reason, "the limit of 11 evaluations is reached");
  }
}

struct SeededSearch {
  // The plans of the first generation.
  std::vector<PrecisionPlan> FirstGeneration(const SearchOptions& searched) {
    SearchOptions options = searched;
    options.generations = 1;
    FakeEvaluator fake(RandomWeights(8, 3));
    EvaluationCache cache(fake);
    SearchProblem problem = Problem(OneLayerGroups(8, kFive), NinePairs());
    problem.seed_plans = {seed};
    Search(problem, cache, options);
    EXPECT_THAT(fake.batches(), SizeIs(2));  // the uniform plans come first
    return fake.batches().at(1);
  }
  SeededSearch() { seed.layers[5] = kKV8; }

  PrecisionPlan seed = PrecisionPlan::Uniform(kKV4, 8);
};

TEST(Search, SeedPlansEnterTheFirstGeneration) {
  SeededSearch search;
  EXPECT_EQ(search.FirstGeneration({})[0], search.seed);
}

// Of more pairs than a generation has plans, some uniform plans make room for others.
TEST(Search, ManyUniformPlansLeaveRoomInTheFirstGeneration) {
  SeededSearch search;
  EXPECT_THAT(search.FirstGeneration({.population = 8}), ::testing::Contains(search.seed));
}

TEST(Search, PlansOfEqualLossAndBytesAreListedOnce) {
  FakeEvaluator fake({1, 1, 1});  // which layer has more bits makes no difference
  EvaluationCache cache(fake);
  const std::vector<PrecisionPair> two = {kKV8, kKV4};
  const SearchResult result = Search(Problem(OneLayerGroups(3, two), two), cache, {});
  EXPECT_THAT(result.front, SizeIs(4));
}

TEST(Search, PlanAsLargeAsTheExactOneIsNotWorthIt) {
  FakeEvaluator fake({1});
  EvaluationCache cache(fake);
  const auto flat_cost = [](const PrecisionPlan&) { return PlanCost{8, 8, 100}; };
  const std::vector<PrecisionPair> two = {kKV8, kKV4};
  SearchProblem problem = Problem(OneLayerGroups(1, two), two);
  problem.cost = flat_cost;
  EXPECT_TRUE(Search(problem, cache, {}).front.empty());
}

TEST(Search, GroupsOfAnotherModelAreRefused) {
  FakeEvaluator fake({1, 1, 1});
  EvaluationCache cache(fake);
  EXPECT_THAT([&] { Search(Problem(OneLayerGroups(2, kFive), NinePairs()), cache, {}); },
              ThrowsMessage<Error>(
                  StrEq("searching: found groups of 2 layers, expected 3 as the model has")));
}

TEST(Search, OptionsOutOfRangeAreRefused) {
  const auto message = [](const SearchOptions& options) -> std::string {
    FakeEvaluator fake({1});
    EvaluationCache cache(fake);
    try {
      Search(Problem(OneLayerGroups(1, kFive), NinePairs()), cache, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  };
  SearchOptions options;
  options.population = 0;
  EXPECT_THAT(message(options), HasSubstr("found a population of 0"));
  options = {};
  options.generations = 0;
  EXPECT_THAT(message(options), HasSubstr("found 0 generations"));
  options = {};
  options.crossover_probability = 1;
  EXPECT_THAT(message(options), HasSubstr("found the crossover probability 1"));
  options = {};
  options.mutation_probability = -0.5;
  EXPECT_THAT(message(options), HasSubstr("found the mutation probability -0.5"));
  options = {};
  options.max_evaluations = -1;
  EXPECT_THAT(message(options), HasSubstr("found a limit of -1 evaluations"));
  options = {};
  options.refinement_evaluations = -1;
  EXPECT_THAT(message(options), HasSubstr("found -1 evaluations for the refinement"));
  for (const double confidence : {0.5, 1.0}) {
    options = {};
    options.racing = RacingOptions{.confidence = confidence};
    EXPECT_THAT(message(options), HasSubstr(" of racing, expected one between 0.5 and 1"));
  }
  options = {};
  options.crossover_probability = -0.5;
  EXPECT_THAT(message(options), HasSubstr("found the crossover probability -0.5"));
  options = {};
  options.mutation_probability = 1.5;
  EXPECT_THAT(message(options), HasSubstr("found the mutation probability 1.5"));
  options = {};
  options.stall_generations = -1;
  EXPECT_THAT(message(options), HasSubstr("found -1 generations without progress"));
  // The limits themselves are allowed.
  options = {.population = 1, .generations = 1, .crossover_probability = 0};
  options.mutation_probability = 1;
  options.refinement_evaluations = 0;
  EXPECT_EQ(message(options), "");
}

TEST(Search, SurrogatePlansAreHalfOfTheFirstGenerationAndRandomOnesTheRest) {
  constexpr int kPopulation = 40;
  const auto first_generation = [](uint64_t seed) {
    std::vector<PrecisionPlan> plans = BatchesOf(1, seed, kPopulation).at(1);
    std::sort(plans.begin(), plans.end());
    return plans;
  };
  const std::vector<PrecisionPlan> of_one = first_generation(1), of_two = first_generation(2);
  std::vector<PrecisionPlan> of_both;
  std::set_intersection(of_one.begin(), of_one.end(), of_two.begin(), of_two.end(),
                        std::back_inserter(of_both));
  // The surrogate's plans do not depend on the seed; a few of them are uniform plans.
  EXPECT_GE(of_both.size(), kPopulation / 2 - 5);
  EXPECT_LE(of_both.size(), kPopulation / 2);
  EXPECT_GE(of_one.size(), kPopulation / 2 + 10);
}

// Ten layers in two groups whose pruning dropped what they need: KV4 of both sides is all that is
// between 8 and 2 bits, and the layers of a group differ a hundredfold.
LayerGroups HidingGroups() {
  LayerGroups groups;
  groups.groups = {{{0, 2, 4, 6, 8}, {kKV8, kKV4, kK2V4, kKV2}},
                   {{1, 3, 5, 7, 9}, {kKV8, kKV4, kK2V4, kKV2}}};
  return groups;
}
const std::vector<double> kTenLayers = {100, 1, 1, 100, 1, 1, 10, 1, 1, 10};

struct Refined {
  SearchResult result;
  std::vector<std::vector<PrecisionPlan>> batches;
  int64_t distinct_plans = 0;
};

Refined SearchHidden(const SearchOptions& options, SearchHooks hooks = {}) {
  constexpr double kInteraction = 2;
  FakeEvaluator scout(kTenLayers, kInteraction);
  FakeEvaluator fake(kTenLayers, kInteraction);
  EvaluationCache cache(fake);
  hooks.scout = [&] { return Scouted(kTenLayers.size(), scout); };
  Refined refined;
  refined.result = Search(Problem(HidingGroups(), NinePairs()), cache, options, hooks);
  refined.batches = fake.batches();
  refined.distinct_plans = cache.distinct_plans();
  for (const ScoredPlan& member : refined.result.front) {
    for (const PrecisionPlan& plan : cache.plans()) {
      EXPECT_FALSE(Dominates({cache.ScoreOf(plan).kl_mean, FakeCost(plan).bytes_per_token},
                             ObjectivesOf(member)));
    }
  }
  return refined;
}

TEST(SearchWithRefinement, FindsPlansThatTheGroupsCannotExpress) {
  SearchOptions grouped_only;
  grouped_only.refinement_evaluations = 0;
  const Refined grouped = SearchHidden(grouped_only);
  const Refined refined = SearchHidden({});
  EXPECT_TRUE(grouped.result.summary.exhaustive);
  EXPECT_GT(refined.result.summary.generations.back().hypervolume,
            1.05 * grouped.result.summary.generations.back().hypervolume);
  // Every grouped plan that mixes is beaten by far at its own size.
  for (const ScoredPlan& plan : grouped.result.front) {
    if (plan.plan == PrecisionPlan::Uniform(kKV8, 10) ||
        plan.plan == PrecisionPlan::Uniform(kKV2, 10)) {
      continue;
    }
    double best = plan.calibration.kl_mean;
    for (const ScoredPlan& other : refined.result.front) {
      if (other.cost.bytes_per_token > plan.cost.bytes_per_token) continue;
      best = std::min(best, other.calibration.kl_mean);
    }
    EXPECT_LT(best, 0.75 * plan.calibration.kl_mean) << PlanSpec(plan.plan);
  }
}

TEST(SearchWithRefinement, SameSeedGivesTheSameBatches) {
  EXPECT_EQ(SearchHidden({}).batches, SearchHidden({}).batches);
}

TEST(SearchWithRefinement, BudgetsAreHardCaps) {
  SearchOptions grouped_only;
  grouped_only.refinement_evaluations = 0;
  const int64_t grouped = SearchHidden(grouped_only).distinct_plans;
  for (const int64_t budget : {1, 15, 16, 17, 40}) {
    SearchOptions options;
    options.refinement_evaluations = budget;
    const Refined refined = SearchHidden(options);
    EXPECT_LE(refined.distinct_plans, grouped + budget);
    EXPECT_EQ(refined.result.summary.generations.back().stage, SearchStage::kRefinement);
  }
  for (const int64_t limit : {10, 11, 12, 13, 20, 40}) {
    SearchOptions options;
    options.max_evaluations = limit;
    options.enumerate_up_to = 0;
    const Refined refined = SearchHidden(options);
    EXPECT_LE(refined.distinct_plans, limit);
  }
}

TEST(SearchWithRefinement, SmallLimitLeavesAThirdForTheRefinement) {
  SearchOptions options;
  options.max_evaluations = 40;  // 10 of them exact and uniform
  options.enumerate_up_to = 0;
  options.generations = 50;
  const Refined refined = SearchHidden(options);
  int64_t grouped = 0;
  for (const GenerationReport& report : refined.result.summary.generations) {
    if (report.stage == SearchStage::kGroupedSearch) grouped = report.distinct_plans;
  }
  EXPECT_LE(grouped, 30);
  EXPECT_EQ(refined.distinct_plans, 40);
  EXPECT_EQ(refined.result.summary.stop_reason, "the limit of 40 evaluations is reached");
}

// The grouped space of the test before is too small to use them up.
TEST(SearchWithRefinement, TheGroupedSearchUsesTheOtherTwoThirds) {
  const std::vector<double> weights = RandomWeights(8, 3);
  FakeEvaluator fake(weights, 2), scout(weights, 2);
  EvaluationCache cache(fake);
  SearchOptions options;
  options.max_evaluations = 40;  // 10 of them exact and uniform
  SearchHooks hooks;
  hooks.scout = [&] { return Scouted(8, scout); };
  const SearchSummary summary =
      Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options, hooks).summary;
  int64_t grouped = 0;
  for (const GenerationReport& report : summary.generations) {
    if (report.stage == SearchStage::kGroupedSearch) grouped = report.distinct_plans;
  }
  EXPECT_EQ(grouped, 30);
  EXPECT_EQ(cache.distinct_plans(), 40);
  EXPECT_EQ(summary.stop_reason, "the limit of 40 evaluations is reached");
}

TEST(SearchWithRefinement, RoundsAreReportedAfterTheGenerations) {
  const Refined refined = SearchHidden({});
  const std::vector<GenerationReport>& reports = refined.result.summary.generations;
  EXPECT_EQ(reports.front().stage, SearchStage::kUniformPlans);
  int round = 0;
  for (size_t i = 1; i < reports.size(); ++i) {
    EXPECT_GE(reports[i].stage, reports[i - 1].stage);
    EXPECT_GE(reports[i].hypervolume, reports[i - 1].hypervolume);
    if (reports[i].stage != SearchStage::kRefinement) continue;
    EXPECT_EQ(reports[i].generation, ++round);
  }
  EXPECT_GE(round, 2);
  EXPECT_THAT(refined.result.summary.stop_reason,
              HasSubstr("the grouped space of 16 plans is scored whole, then "));
}

TEST(SearchWithRefinement, EndsWithTwoRoundsInARowThatAddNothing) {
  SearchOptions options;
  options.refinement_evaluations = 100'000;
  const Refined refined = SearchHidden(options);
  EXPECT_THAT(refined.result.summary.stop_reason,
              HasSubstr(", then 2 refinement rounds in a row added nothing"));
  const std::vector<GenerationReport>& reports = refined.result.summary.generations;
  ASSERT_GE(reports.size(), 4u);
  const auto last = reports.rbegin();
  EXPECT_EQ(last[0].hypervolume, last[1].hypervolume);
  EXPECT_EQ(last[1].hypervolume, last[2].hypervolume);
  EXPECT_GT(last[2].hypervolume, last[3].hypervolume);
}

TEST(SearchWithRefinement, CanBeStoppedBetweenRounds) {
  SearchHooks hooks;
  int asked = 0;
  hooks.should_stop = [&] {
    return ++asked == 4;
  };  // uniform plans, scouting, grouped space, round 1
  const Refined refined = SearchHidden({}, hooks);
  EXPECT_TRUE(refined.result.interrupted);
  EXPECT_EQ(refined.result.summary.stop_reason, "stopped after round 1 of the refinement");
}

TEST(SearchWithRefinement, EndsByItselfWhenNothingImproves) {
  // One layer: the uniform plans are the whole space.
  FakeEvaluator fake({1});
  EvaluationCache cache(fake);
  SearchOptions options;
  SearchHooks hooks;
  hooks.scout = [&] { return Scouted(1, fake); };
  const SearchResult result =
      Search(Problem(OneLayerGroups(1, kFive), NinePairs()), cache, options, hooks);
  EXPECT_EQ(result.summary.stop_reason,
            "the grouped space of 5 plans is scored whole, then nothing that the refinement would "
            "try is left");
  EXPECT_EQ(cache.distinct_plans(), 10);
}

TEST(SearchWithRefinement, LossesOfAnotherModelAreRefused) {
  const auto message = [](LayerLosses losses) -> std::string {
    FakeEvaluator fake({1, 1});
    EvaluationCache cache(fake);
    SearchOptions options;
    SearchHooks hooks;
    hooks.scout = [&] { return losses; };
    try {
      Search(Problem(OneLayerGroups(2, kFive), NinePairs()), cache, options, hooks);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({NinePairs(), {std::vector<double>(9, 1.0)}}),
            "searching: found losses of 1 layers, expected 2 as the model has");
  EXPECT_EQ(message({{kKV8}, {{1.0}, {1.0}}}),
            "searching: found no layer losses of K8V4, expected them of every pair");
}

// Whatever searches: no plan of a front is dominated by a scored one, every uniform plan is scored
// on all prompts, and the summary counts what was done.
class EveryAlgorithm : public ::testing::TestWithParam<Algorithm> {};

TEST_P(EveryAlgorithm, FrontsAreUndominatedAndUniformPlansScored) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const size_t layers = 3 + seed % 4;
    FakeEvaluator fake(RandomWeights(layers, seed), static_cast<double>(seed), 40);
    EvaluationCache cache(fake);
    SearchOptions options;
    SearchHooks hooks;
    options.algorithm = GetParam();
    options.seed = seed;
    options.generations = 4;
    options.enumerate_up_to = 0;
    if (seed % 2 == 1) options.racing.reset();
    hooks.scout = [&] { return Scouted(layers, fake); };
    SearchProblem problem = Problem(OneLayerGroups(layers, kFive), NinePairs());
    problem.sensitivities = Scouted(layers, fake);
    const SearchResult result = Search(problem, cache, options, hooks);
    ASSERT_FALSE(result.front.empty());
    for (const ScoredPlan& member : result.front) {
      EXPECT_EQ(member.calibration.prompts, 40);
      for (const PrecisionPlan& plan : cache.plans()) {
        EXPECT_FALSE(
            Dominates({LossOverAllPrompts(cache.ScoreOf(plan)), FakeCost(plan).bytes_per_token},
                      ObjectivesOf(member)));
      }
    }
    ASSERT_THAT(result.uniform, SizeIs(9));
    for (const ScoredPlan& uniform : result.uniform) EXPECT_TRUE(uniform.calibration.complete());
    const SearchSummary& summary = result.summary;
    EXPECT_EQ(summary.algorithm, WordOf(kAlgorithmWords, GetParam()));
    EXPECT_EQ(summary.distinct_plans, cache.distinct_plans());
    EXPECT_EQ(summary.prompt_scores + summary.prompt_scores_saved, 40 * cache.distinct_plans());
    if (seed % 2 == 1) {
      EXPECT_EQ(summary.prompt_scores_saved, 0);
    }
    EXPECT_GT(summary.surrogate_hypervolume.value_or(0), 0);
  }
}

TEST_P(EveryAlgorithm, SameSeedGivesTheSameBatches) {
  const auto batches = [] {
    FakeEvaluator fake(RandomWeights(6, 3), 2);
    EvaluationCache cache(fake);
    SearchOptions options;
    SearchHooks hooks;
    options.algorithm = GetParam();
    options.generations = 3;
    options.enumerate_up_to = 0;
    hooks.scout = [] {
      FakeEvaluator scout(RandomWeights(6, 3), 2);
      return Scouted(6, scout);
    };
    SearchProblem problem = Problem(OneLayerGroups(6, kFive), NinePairs());
    problem.sensitivities = hooks.scout();
    Search(problem, cache, options, hooks);
    return fake.batches();
  };
  EXPECT_EQ(batches(), batches());
}

INSTANTIATE_TEST_SUITE_P(Algorithms, EveryAlgorithm,
                         ::testing::Values(Algorithm::kNsga2, Algorithm::kMoead, Algorithm::kRandom,
                                           Algorithm::kGreedy, Algorithm::kIlp, Algorithm::kPaper),
                         [](const auto& of) {
                           return std::string(WordOf(kAlgorithmWords, of.param));
                         });

// The share of plans of at most so many nominal bits.
double ShareWithin(const std::vector<PrecisionPlan>& plans, double bits) {
  const auto within = std::ranges::count_if(
      plans, [bits](const PrecisionPlan& plan) { return FakeCost(plan).nominal_bits <= bits; });
  return static_cast<double>(within) / static_cast<double>(plans.size());
}

TEST(PapersLoop, HoldsToOneSoftLimitAfterTheOther) {
  FakeEvaluator fake(RandomWeights(8, 5), 0, 4);
  EvaluationCache cache(fake);
  SearchOptions options;
  options.algorithm = Algorithm::kPaper;
  options.generations = 20;
  options.enumerate_up_to = 1 << 30;  // which is for adaptive algorithms
  options.racing.reset();
  const SearchResult result =
      Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options);
  const auto& batches = fake.batches();  // the uniform plans, then the generations
  ASSERT_THAT(batches, SizeIs(21));
  EXPECT_LT(ShareWithin(batches[1], 4), 0.5);  // random plans
  EXPECT_GT(ShareWithin(batches[10], 4), 0.5);
  EXPECT_LT(ShareWithin(batches[11], 6), 1);  // random plans again, others than the first
  EXPECT_NE(batches[11], batches[1]);
  EXPECT_GT(ShareWithin(batches[20], 6), 0.7);
  EXPECT_LT(ShareWithin(batches[20], 4), ShareWithin(batches[10], 4));
  EXPECT_EQ(result.summary.stop_reason, "20 generations are done");
  EXPECT_FALSE(result.summary.surrogate_hypervolume);
}

// Each limit draws first plans of its own, which tell whose turn it is.
std::vector<std::vector<PrecisionPlan>> BatchesOfPapersLoop(int generations,
                                                            int64_t max_evaluations = 0) {
  FakeEvaluator fake(RandomWeights(8, 5), 0, 4);
  EvaluationCache cache(fake);
  SearchOptions options;
  options.algorithm = Algorithm::kPaper;
  options.generations = generations;
  options.max_evaluations = max_evaluations;
  options.racing.reset();
  Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options);
  return fake.batches();
}

TEST(PapersLoop, ASingleGenerationIsOfTheSecondLimitAndTwoAreOfBoth) {
  const auto one = BatchesOfPapersLoop(1), two = BatchesOfPapersLoop(2),
             four = BatchesOfPapersLoop(4);
  ASSERT_THAT(one, SizeIs(2));
  ASSERT_THAT(two, SizeIs(3));
  ASSERT_THAT(four, SizeIs(5));
  EXPECT_EQ(two[1], four[1]);
  EXPECT_EQ(two[2], four[3]);
  EXPECT_EQ(one[1], two[2]);
}

TEST(PapersLoop, TheSecondLimitBeginsWhenHalfOfTheEvaluationsAreLeft) {
  const std::vector<PrecisionPlan> first_of_second = BatchesOfPapersLoop(1)[1];
  size_t before = 0;
  for (const std::vector<PrecisionPlan>& batch : BatchesOfPapersLoop(1000, 210)) {
    const bool begins = std::ranges::all_of(batch, [&](const PrecisionPlan& plan) {
      return std::ranges::count(first_of_second, plan) > 0;
    });
    if (begins) break;
    before += batch.size();
  }
  // The exact and the uniform plans are 10, and of the other 200 the half is left.
  EXPECT_GE(before, 110u);
  EXPECT_LT(before, 110u + 16);  // a generation
}

TEST(PapersLoop, MayEndWithinItsFirstGeneration) {
  FakeEvaluator fake(RandomWeights(8, 5), 0, 4);
  EvaluationCache cache(fake);
  SearchOptions options;
  options.algorithm = Algorithm::kPaper;
  options.max_evaluations = 15;  // 10 of them exact and uniform
  const SearchSummary summary =
      Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options).summary;
  EXPECT_THAT(summary.generations, SizeIs(2));
  EXPECT_EQ(summary.distinct_plans, 15);
  EXPECT_EQ(summary.stop_reason, "the limit of 15 evaluations is reached");
}

TEST(PapersLoop, GivesEitherLimitHalfOfTheEvaluations) {
  FakeEvaluator fake(RandomWeights(8, 5), 0, 4);
  EvaluationCache cache(fake);
  SearchOptions options;
  options.algorithm = Algorithm::kPaper;
  options.generations = 1000;
  options.max_evaluations = 210;
  options.racing.reset();
  const SearchResult result =
      Search(Problem(OneLayerGroups(8, kFive), NinePairs()), cache, options);
  EXPECT_EQ(cache.distinct_plans(), 210);
  EXPECT_EQ(result.summary.stop_reason, "the limit of 210 evaluations is reached");
  const std::vector<PrecisionPlan> scored(cache.plans().begin() + 10, cache.plans().end());
  const std::vector<PrecisionPlan> first(scored.begin() + 50, scored.begin() + 100);
  const std::vector<PrecisionPlan> second(scored.begin() + 150, scored.end());
  EXPECT_GT(ShareWithin(first, 4), ShareWithin(second, 4));
}

TEST(SeedPlans, AreSpreadOverTheFrontOfLayerLosses) {
  FakeEvaluator scout(RandomWeights(4, 1), 0);
  const SearchProblem problem = Problem(OneLayerGroups(4, kFive), NinePairs());
  const std::vector<PrecisionPlan> seeds = SeedPlans(problem, Scouted(4, scout), 6);
  ASSERT_THAT(seeds, SizeIs(6));
  std::vector<Objectives> points;
  for (const PrecisionPlan& plan : seeds)
    points.push_back({scout.ScoreOf(plan).kl_mean, FakeCost(plan).bytes_per_token});
  EXPECT_THAT(NonDominated(points), SizeIs(6));
  EXPECT_TRUE(SeedPlans(problem, {}, 6).empty());
  EXPECT_THAT(
      [&] {
        SeedPlans(problem, {{kKV8}, std::vector(4, std::vector{1.0})}, 6);
      },
      ThrowsMessage<Error>(HasSubstr("found no layer losses of")));
}

TEST(ExactSearch, ScoresTheWholeSpaceOnAllPromptsOrRefuses) {
  FakeEvaluator fake(RandomWeights(4, 1), 0, 40);
  EvaluationCache cache(fake);
  SearchOptions options;
  options.exact = true;
  options.enumerate_up_to = 0;
  const SearchResult result =
      Search(Problem(OneLayerGroups(4, kFive), NinePairs()), cache, options);
  EXPECT_TRUE(result.summary.exhaustive);
  EXPECT_EQ(result.summary.prompt_scores_saved, 0);
  EXPECT_GE(cache.distinct_plans(), 625);
  options.max_evaluations = 634;
  EXPECT_THAT(
      [&] { Search(Problem(OneLayerGroups(4, kFive), NinePairs()), cache, options); },
      ThrowsMessage<Error>(HasSubstr("searching exactly: found 625 plans in the grouped space, "
                                     "expected at most 624")));
}

TEST(StoppedSearch, StallingAndTimeEndTheSearch) {
  FakeEvaluator fake({1, 1, 1});
  EvaluationCache cache(fake);
  SearchOptions options;
  SearchHooks hooks;
  options.enumerate_up_to = 0;
  options.generations = 1000;
  options.stall_generations = 3;
  options.refinement_evaluations = 0;
  const auto search = [&] {
    return Search(Problem(OneLayerGroups(3, kFive), NinePairs()), cache, options, hooks);
  };
  const SearchSummary stalled = search().summary;
  EXPECT_EQ(stalled.stop_reason, "3 generations in a row added nothing");
  const std::vector<GenerationReport>& reports = stalled.generations;
  ASSERT_GT(reports.size(), 4u);
  size_t added_nothing = 0;
  while (reports[reports.size() - 1 - added_nothing].hypervolume ==
         reports[reports.size() - 2 - added_nothing].hypervolume) {
    ++added_nothing;
  }
  EXPECT_EQ(added_nothing, 3u);
  options.stall_generations = 1;
  EXPECT_EQ(search().summary.stop_reason, "1 generations in a row added nothing");
  hooks.out_of_time = [] { return true; };
  const SearchResult result = search();
  EXPECT_TRUE(result.out_of_time);
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(result.summary.stop_reason, "the time is over after the uniform plans");
}

// Every shape, over pairs that FakePairError tells apart.
std::vector<PlanShape> AllShapes() {
  std::vector<PrecisionPair> nine_and_exact = NinePairs();
  nine_and_exact.insert(nine_and_exact.begin(), kExactPair);
  return {{ShapeKind::kAnyPair, NinePairs()},
          {ShapeKind::kAnyPair, nine_and_exact},
          {ShapeKind::kAnyPair, {kKV8, kKV4, kKV2}},
          {ShapeKind::kOnePair, nine_and_exact},
          {ShapeKind::kOnePairAndExact, {kKV8, kKV4, kKV2}},
          {ShapeKind::kRuns, NinePairs()},
          {ShapeKind::kOnePairAndExact, {kKV8, kKV4, kKV2}, {kKV4, kKV2}, 2}};
}

std::vector<PrecisionPair> QuantizedPairs(const PlanShape& shape) {
  std::vector<PrecisionPair> pairs = shape.pairs;
  std::erase(pairs, kExactPair);
  return pairs;
}

TEST(SearchOfAShape, OnlyPlansOfTheShapeAreScored) {
  for (const PlanShape& shape : AllShapes()) {
    for (const Algorithm algorithm : {Algorithm::kNsga2, Algorithm::kMoead, Algorithm::kRandom,
                                      Algorithm::kGreedy, Algorithm::kIlp, Algorithm::kPaper}) {
      FakeEvaluator fake(RandomWeights(7, 3), 2);
      EvaluationCache cache(fake);
      FakeEvaluator scout(RandomWeights(7, 3), 2);
      SearchOptions options;
      SearchHooks hooks;
      options.algorithm = algorithm;
      options.enumerate_up_to = 0;
      options.generations = 3;
      hooks.scout = [&] { return Scouted(7, scout); };
      LayerGroups groups;  // some layers share a choice
      groups.groups = {{{0, 3}, QuantizedPairs(shape)},
                       {{1, 2}, QuantizedPairs(shape)},
                       {{4}, QuantizedPairs(shape)},
                       {{5}, {QuantizedPairs(shape).back()}},
                       {{6}, QuantizedPairs(shape)}};
      SearchProblem problem = Problem(groups, QuantizedPairs(shape));
      problem.shape = shape;
      problem.sensitivities = Scouted(7, scout);
      const SearchResult result = Search(problem, cache, options, hooks);
      EXPECT_FALSE(result.front.empty());
      for (const std::vector<PrecisionPlan>& batch : fake.batches()) {
        for (const PrecisionPlan& plan : batch) {
          if (plan.is_exact()) continue;  // the reference
          EXPECT_EQ(WhyNot(shape, plan), std::nullopt)
              << DescribeShape(shape) << ", " << WordOf(kAlgorithmWords, algorithm) << ": "
              << PlanSpec(plan);
        }
      }
    }
  }
}

// Scores of single layers decide nothing where no layer has a choice of its own.
TEST(SearchOfAShape, OnePairForAllLayersIsNotScouted) {
  FakeEvaluator fake(RandomWeights(5, 3), 2);
  EvaluationCache cache(fake);
  SearchProblem problem = Problem(OneLayerGroups(5, {kKV8, kKV4}), {kKV8, kKV4, kKV2});
  problem.shape = {ShapeKind::kOnePair, {kKV8, kKV4, kKV2}};
  int scouted = 0;
  SearchHooks hooks;
  hooks.scout = [&] {
    ++scouted;
    FakeEvaluator scout(RandomWeights(5, 3), 2);
    return Scouted(5, scout);
  };
  const SearchResult result = Search(problem, cache, {}, hooks);
  EXPECT_EQ(scouted, 0);
  EXPECT_EQ(cache.distinct_plans(), 4);  // exact and three pairs: all that there are
  EXPECT_EQ(result.uniform.size(), 3u);
  EXPECT_TRUE(result.summary.exhaustive);
  problem.shape = {ShapeKind::kOnePairAndExact, {kKV8, kKV4, kKV2}};
  Search(problem, cache, {}, hooks);
  EXPECT_EQ(scouted, 1);
}

// One layer is far more fragile than the others: two formats cannot help, an exact layer can.
TEST(SearchOfAShape, AFragileLayerStaysExactWhereItMay) {
  FakeEvaluator fake({1, 1, 1000, 1, 1});
  EvaluationCache cache(fake);
  SearchProblem problem = Problem(OneLayerGroups(5, {kKV8, kKV4}), {kKV8, kKV4});
  SearchHooks hooks;
  problem.shape = {ShapeKind::kOnePairAndExact, {kKV8, kKV4}};
  hooks.scout = [&] { return Scouted(5, fake); };
  const SearchResult result = Search(problem, cache, {}, hooks);
  const auto spared = std::ranges::find_if(result.front, [](const ScoredPlan& plan) {
    return plan.plan.layers == std::vector{kKV4, kKV4, kExactPair, kKV4, kKV4};
  });
  EXPECT_NE(spared, result.front.end());
}

// The engine takes the ends of KV4 from the plan anyhow.
TEST(SearchOfAShape, UniformPlansAreAsTheEngineRunsThem) {
  FakeEvaluator fake(RandomWeights(5, 3), 2);
  EvaluationCache cache(fake);
  SearchProblem problem = Problem(OneLayerGroups(5, {kKV8, kKV4}), {kKV8, kKV4});
  problem.shape = {ShapeKind::kOnePairAndExact, {kKV8, kKV4}, {kKV4}, 1};
  const SearchResult result = Search(problem, cache, {});
  ASSERT_EQ(result.uniform.size(), 2u);
  EXPECT_EQ(PlanSpec(result.uniform[0].plan), "KV8");
  EXPECT_EQ(result.uniform[1].name, "KV4");
  EXPECT_EQ(PlanSpec(result.uniform[1].plan), "KV4;0:exact;4:exact");
}

// Where the surrogate is right (losses add up), its front over runs is the one of all plans.
TEST(SearchOfAShape, FragileEndsGetRunsOfTheirOwn) {
  FakeEvaluator fake({100, 100, 1, 1, 1, 1, 1, 100});
  EvaluationCache cache(fake);
  const std::vector<PrecisionPair> four = {kKV8, kK8V4, kK4V8, kKV4};
  SearchProblem problem = Problem(OneLayerGroups(8, four), four);
  SearchHooks hooks;
  problem.shape = {ShapeKind::kRuns, four};
  hooks.scout = [&] { return Scouted(8, fake); };
  const SearchResult result = Search(problem, cache, {}, hooks);
  const auto spared = std::ranges::find_if(result.front, [](const ScoredPlan& plan) {
    return PlanSpec(plan.plan) == "KV4;0-1:KV8;7:KV8";
  });
  EXPECT_NE(spared, result.front.end());
}

}  // namespace
}  // namespace kvtune
