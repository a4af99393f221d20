#include "lib/run/search_latency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/objective.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/merge_runs.h"
#include "lib/run/plan_budget.h"
#include "lib/run/plan_source.h"
#include "lib/run/search_step.h"
#include "lib/run/stages.h"
#include "search/pareto.h"
#include "tests/support/latency_data.h"
#include "tests/support/search_runs.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct TimedRuns : SearchRuns {
  ModelConfig config() const { return Checkpoint(fake.model()).config(); }
  LatencyTable table() const {
    LatencyTable table = LatencyOf({{8, 1024}}, FakeRun::kLayers);
    table.layers = LayerShapesOf(config());
    return table;
  }
  SearchLatency LatencyIn(const LatencyTable& from) const {
    return LatencyForSearch(from, {}, config(), NinePairs(), "latency.json");
  }

  SearchStepOptions Options() const {
    SearchStepOptions options;
    options.search.population = 8;
    options.search.generations = 3;
    options.search.refinement_evaluations = 8;
    options.latency = LatencyIn(table());
    return options;
  }
};

TEST(SearchLatency, EveryPairOfTheSearchHasToBeMeasured) {
  TimedRuns runs;
  LatencyTable table = runs.table();
  std::erase_if(table.settings[0].pairs,
                [](const PairLatency& pair) { return pair.pair.is_exact(); });
  EXPECT_THAT([&] { runs.LatencyIn(table); },
              ThrowsMessage<Error>(HasSubstr("found no time of exact in layers like layer 0")));
  table.layers.pop_back();
  EXPECT_THAT([&] { runs.LatencyIn(table); },
              ThrowsMessage<Error>(HasSubstr("found times of 5 layers, expected 6")));
}

TEST(SearchLatency, WhatIsMeasuredFirstIsAllThatTheSearchAsksFor) {
  const DecodeBench bench = BenchForSearch(std::vector{kKV4, kKV8}, {4, 512});
  EXPECT_THAT(bench.pairs, ElementsAre(kExactPair, kKV8, kKV4));
  EXPECT_THAT(bench.settings, ElementsAre(DecodeSetting{4, 512}));
  EXPECT_FALSE(bench.whole_steps);
}

TEST(SearchLatency, CostsGetTheTimesAndKeepTheirBytes) {
  TimedRuns runs;
  const CostFunction cost = WithLatency(FakeCost, runs.LatencyIn(runs.table()));
  const PrecisionPlan plan{{kKV8, kK8V2, kK2V8, kKV4, kKV2, kExactPair}};
  EXPECT_EQ(cost(plan).bytes_per_token, FakeCost(plan).bytes_per_token);
  double sum = 0;
  for (const PrecisionPair pair : plan.layers) sum += 8 * FakeMilliseconds(pair);
  EXPECT_EQ(cost(plan).latency_ms, sum);
}

TEST(SearchLatency, TheRunHasTheTimesOfItsPlans) {
  TimedRuns runs;
  const ParetoFront front = runs.Search("run", runs.Options()).front;
  EXPECT_EQ(ToJson(ReadFront(runs.fake / "run")), ToJson(front));
  EXPECT_EQ(front.latency, runs.LatencyIn(runs.table()).source);
  std::vector<Objectives> members;
  for (const ScoredPlan* plan : AllPlans(front)) {
    ASSERT_TRUE(plan->cost.latency_ms);
    double sum = 0;
    for (const PrecisionPair pair : plan->plan.layers) sum += 8 * FakeMilliseconds(pair);
    EXPECT_EQ(*plan->cost.latency_ms, sum);
  }
  for (const ScoredPlan& plan : front.plans)
    members.push_back(ObjectivesFor(LossOf(plan.calibration), plan.cost));
  EXPECT_EQ(NonDominated(members).size(), front.plans.size());
  for (Objectives& member : members) member.milliseconds.reset();
  EXPECT_LT(NonDominated(members).size(), front.plans.size()) << "time keeps no plan";
  for (const LoggedEvaluation& logged :
       ReadEvaluationLog(runs.fake / "run" / "evaluations.jsonl", FakeRun::kLayers).evaluations) {
    EXPECT_TRUE(logged.cost.latency_ms);
  }
  const Json options = ReadJsonFile(runs.fake / "run" / "run.json")["stages"]["search"]["options"];
  EXPECT_EQ(options["--objective-latency"], HashOfTable(runs.table()));
  EXPECT_EQ(options["--latency-batch"], 8);
  EXPECT_EQ(options["--latency-context"], 1024);
}

TEST(SearchLatency, StoppedAnywhereItGoesOnToTheSameBytes) {
  TimedRuns runs;
  int polls = 0;
  runs.Search("whole", runs.Options(), [&] { return ++polls == 0; });
  for (int k = 1; k <= polls; k += 3) {
    SCOPED_TRACE(k);
    const std::string name = "stopped" + std::to_string(k);
    int asked = 0;
    EXPECT_TRUE(runs.Search(name, runs.Options(), [&] { return ++asked >= k; }).interrupted);
    EXPECT_FALSE(runs.Search(name, runs.Options()).unfinished);
    EXPECT_EQ(runs.TextOf(name, "front.json"), runs.TextOf("whole", "front.json"));
    EXPECT_EQ(runs.TextOf(name, "evaluations.jsonl"), runs.TextOf("whole", "evaluations.jsonl"));
  }
}

TEST(SearchLatency, ARunIsBoundToItsTimes) {
  TimedRuns runs;
  runs.Search("run", runs.Options());
  LatencyTable other = runs.table();
  other.settings[0].pairs[0].attention.median += 1;
  SearchStepOptions options = runs.Options();
  options.latency = runs.LatencyIn(other);
  EXPECT_THAT([&] { runs.Search("run", options); },
              ThrowsMessage<Error>(HasSubstr("--objective-latency: found xxh3:")));
  // Without times it would be another search too.
  options.latency.reset();
  EXPECT_THAT([&] { runs.Search("run", options); },
              ThrowsMessage<Error>(HasSubstr(HashOfTable(runs.table()) + " there, expected none")));
  runs.Search("plain", options);
  EXPECT_THAT([&] { runs.Search("plain", runs.Options()); },
              ThrowsMessage<Error>(HasSubstr("--objective-latency: found null there, expected ")));
}

TEST(SearchLatency, RunsOfOtherTimesAreNotMerged) {
  TimedRuns runs;
  SearchStepOptions options = runs.Options();
  runs.Search("a", options);
  options.search_seed = 7;
  runs.Search("b", options);
  options.latency.reset();
  runs.Search("plain", options);
  const auto merge = [&](const char* other, const char* out) {
    return MergeRuns(std::vector<fs::path>{runs.fake / "a", runs.fake / other}, runs.fake / out,
                     {"kvtune", "pareto", "merge"});
  };
  const ParetoFront merged = merge("b", "merged");
  EXPECT_TRUE(merged.latency);
  EXPECT_EQ(ToJson(ReadFront(runs.fake / "merged")), ToJson(merged));
  EXPECT_THAT([&] { merge("plain", "other"); },
              ThrowsMessage<Error>(HasSubstr("--objective-latency: found other times there")));
}

TEST(SearchLatency, BytesAtAnotherContextKeepTheTimes) {
  TimedRuns runs;
  ParetoFront front = runs.Search("run", runs.Options()).front;
  const ParetoFront before = front;
  CountBytesAt(front, 4096);
  EXPECT_EQ(front.run.context, 4096);
  for (size_t i = 0; i < AllPlans(front).size(); ++i)
    EXPECT_EQ(AllPlans(front)[i]->cost.latency_ms, AllPlans(before)[i]->cost.latency_ms);
}

TEST(SearchLatency, AlgorithmsOfTwoObjectivesAreRefused) {
  SearchStepOptions options;
  options.by_time.wanted = true;
  EXPECT_NO_THROW(CheckSearchBy(options, false));
  options.search.algorithm = Algorithm::kGreedy;
  EXPECT_THAT([&] { CheckSearchBy(options, false); },
              ThrowsMessage<Error>(HasSubstr("found --objective-latency with an --algorithm of two "
                                             "objectives, expected nsga2, moead, random or ilp")));
}

}  // namespace
}  // namespace kvtune
