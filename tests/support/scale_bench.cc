// One process of a run whose model only waits, so that many processes fit on a few cores and what
// is measured is the sharing of their work. scripts/bench_scale.py starts them.
//
//   scale_bench SECONDS_EACH JOBS SECONDS_TO_START
//
// Rank and address come from the environment, as in kvtune. Each job scores plans on prompts, so
// many that every process waits for about SECONDS_EACH. The first one begins after
// SECONDS_TO_START, when all processes have come. Each process prints one JSON object: the seconds
// in which it waited for its model, and, of rank 0, those that the jobs took.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/distributed/ranks.h"
#include "lib/distributed/shared_run.h"
#include "lib/distributed/tcp_store.h"
#include "tests/support/fake_model.h"

namespace kvtune {
namespace {

// The sizes of an 8B model's search: 32 layers, 128 plans, prompts of 2048 tokens.
constexpr size_t kLayers = 32, kPlans = 128, kTokens = 2048, kPrompts = 40;

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Waits for every plan on every prompt, up to a fifth more or less than on average.
class WaitingModel : public FakeModel {
 public:
  WaitingModel(FakeModelScript& script, double seconds_each, int rank, double& waited)
      : FakeModel(FakeConfig(kLayers), script),
        seconds_each_(seconds_each),
        random_(static_cast<uint64_t>(rank)),
        waited_(waited) {}

  std::vector<std::vector<PromptScore>> ScorePlans(std::span<const PrecisionPlan> plans,
                                                   std::span<const TokenIds> prompts,
                                                   const OnProgress&) override {
    const auto start = std::chrono::steady_clock::now();
    std::uniform_real_distribution<double> around(0.8, 1.2);
    const double count = static_cast<double>(plans.size() * prompts.size());
    std::this_thread::sleep_for(
        std::chrono::duration<double>(seconds_each_ * count * around(random_)));
    std::vector<std::vector<PromptScore>> scores = FakeModel::ScorePlans(plans, prompts, nullptr);
    waited_ += SecondsSince(start);
    return scores;
  }

 private:
  double seconds_each_;
  std::mt19937_64 random_;
  double& waited_;
};

std::vector<PrecisionPlan> RandomPlans(std::mt19937_64& random) {
  const std::vector<KvFormatId> formats{KvFormatId::kInt8, KvFormatId::kInt4, KvFormatId::kInt2};
  std::uniform_int_distribution<size_t> draw(0, formats.size() - 1);
  std::vector<PrecisionPlan> plans(kPlans);
  for (PrecisionPlan& plan : plans) {
    for (size_t layer = 0; layer < kLayers; ++layer) {
      plan.layers.push_back({formats[draw(random)], formats[draw(random)]});
    }
  }
  return plans;
}

void Run(double seconds_each, int jobs, int seconds_to_start) {
  const Ranks ranks = ReadRanks(ProcessEnvironment());
  const double seconds_of_one = seconds_each * ranks.world / (kPlans * kPrompts);
  FakeModelScript script{.losses = {.layer_weights = std::vector<double>(kLayers, 1)}};
  double waited = 0, wall = 0;
  const ModelSource source{.version = "bench",
                           .hash = "none",
                           .tokenizer_hash = "none",
                           .prefill = "none",
                           .text_of = nullptr,
                           .load = [&] {
                             return std::make_unique<WaitingModel>(script, seconds_of_one,
                                                                   ranks.rank, waited);
                           }};
  std::unique_ptr<Store> store = OpenTcpStore(ranks, std::chrono::seconds(120));
  if (ranks.rank != 0) {
    const auto failure = ServeRun(std::move(store), ranks, LeaseTimes(), source, nullptr);
    if (failure) throw Error(*failure);
  } else {
    const auto model = LeadRun(std::move(store), ranks, LeaseTimes(), source);
    std::this_thread::sleep_for(std::chrono::seconds(seconds_to_start));
    std::mt19937_64 random(1);
    const std::vector<TokenIds> prompts(kPrompts, TokenIds(kTokens, 1));
    const auto start = std::chrono::steady_clock::now();
    for (int job = 0; job < jobs; ++job) model->ScorePlans(RandomPlans(random), prompts, nullptr);
    wall = SecondsSince(start);
  }
  std::printf("%s\n", Json({{"waited", waited}, {"jobs", wall}}).dump().c_str());
}

}  // namespace
}  // namespace kvtune

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    kvtune::Run(std::atof(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]));
    return 0;
  } catch (const kvtune::Error& error) {
    kvtune::LogError(error.what());
    return 1;
  }
}
