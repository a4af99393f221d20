// Times the scoring of a population in several ways, each of which shares more between the plans
// than the one before. scripts/bench_scoring.py runs it.
//
//   scoring_bench MODEL_DIR IDS_FILE PLANS_FILE DEVICE float32|bfloat16 THREADS RUNS
//
// A line of IDS_FILE is a JSON array of token ids. A line of PLANS_FILE is a plan: a JSON array
// with [key format, value format] of every layer. Each run prints one JSON object: the seconds of
// wall clock and of all processors for every way to score, and how many steps through a layer each
// takes.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/io/checkpoint.h"
#include "lib/runner/model_probe.h"
#include "lib/runner/plan_tree.h"

namespace kvtune {
namespace {

std::vector<Json> ReadLines(const std::string& path) {
  std::istringstream text(ReadFile(path));
  std::vector<Json> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(ParseJson(line, path));
  return lines;
}

PrecisionPlan PlanOf(const Json& layers) {
  PrecisionPlan plan;
  for (const Json& layer : layers) {
    plan.layers.push_back(
        {*FindFormat(layer[0].get<std::string>()), *FindFormat(layer[1].get<std::string>())});
  }
  return plan;
}

struct Seconds {
  double wall = 0, processors = 0;
};

Seconds Time(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  const std::clock_t processors = std::clock();
  work();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
          static_cast<double>(std::clock() - processors) / CLOCKS_PER_SEC};
}

// Distinct (prefix, key format) of all layers: how often keys are stored and scores computed.
size_t KeyCount(const PlanTree& tree) {
  size_t count = 0;
  for (const PlanTreeLayer& nodes : tree.layers) {
    std::set<std::pair<size_t, KvFormatId>> keys;
    for (const PlanTreeNode& node : nodes) keys.emplace(node.parent, node.pair.key);
    count += keys.size();
  }
  return count;
}

void Run(const std::string& model, const std::string& ids_file, const std::string& plans_file,
         const ModelOptions& options, int runs) {
  const Checkpoint checkpoint(model);
  std::vector<TokenIds> prompts;
  for (const Json& line : ReadLines(ids_file)) prompts.push_back(line.get<TokenIds>());
  std::vector<PrecisionPlan> plans;
  for (const Json& line : ReadLines(plans_file)) plans.push_back(PlanOf(line));
  const PrecisionPlan exact = PrecisionPlan::Uniform(kExactPair, plans.front().layers.size());

  const std::pair<const char*, Sharing> ways[] = {{"nothing", Sharing::kNothing},
                                                  {"reference_logits", Sharing::kReferenceLogits},
                                                  {"prefixes", Sharing::kPrefixes},
                                                  {"attention", Sharing::kAttention}};
  std::vector<std::unique_ptr<ModelProbe>> runners;
  for (const auto& [name, sharing] : ways) {
    runners.push_back(
        std::make_unique<ModelProbe>(checkpoint, options, ProbeOptions{.sharing = sharing}));
    // The exact pass is made here, because it is not what is timed.
    runners.back()->ScorePlans(std::span(&exact, 1), prompts, nullptr);
  }
  const PlanTree tree = BuildPlanTree(plans);
  const Json steps = {{"alone", plans.size() * exact.layers.size()},
                      {"prefixes", tree.node_count()},
                      {"keys", KeyCount(tree)}};
  for (int run = 0; run < runs; ++run) {
    Json times;
    const auto add = [&](const std::string& name, const Seconds& seconds) {
      times[name] = {{"wall", seconds.wall}, {"processors", seconds.processors}};
    };
    add("one_by_one", Time([&] {
          for (const PrecisionPlan& plan : plans)
            runners.front()->ScorePlans(std::span(&plan, 1), prompts, nullptr);
        }));
    for (size_t i = 0; i < runners.size(); ++i) {
      add(ways[i].first, Time([&] { runners[i]->ScorePlans(plans, prompts, nullptr); }));
    }
    std::printf(
        "%s\n",
        Json({{"plans", plans.size()}, {"steps", steps}, {"seconds", times}}).dump().c_str());
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace kvtune

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(
        stderr, "scoring_bench: see the top of tests/support/scoring_bench.cc for its arguments\n");
    return 2;
  }
  try {
    using kvtune::DataType;
    const DataType type =
        std::string(argv[5]) == "bfloat16" ? DataType::kBFloat16 : DataType::kFloat32;
    kvtune::Run(argv[1], argv[2], argv[3],
                {.device = argv[4], .data_type = type, .threads = std::atoi(argv[6])},
                std::atoi(argv[7]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "scoring_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
