// kvtune bench: what plans take on this machine's device, with a cache that is really packed.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/progress.h"
#include "lib/io/checkpoint.h"
#include "lib/io/model_directory.h"
#include "lib/report/latency_text.h"
#include "lib/report/text_table.h"
#include "lib/run/decode_bench.h"
#include "lib/run/inspection.h"
#include "lib/run/plan_source.h"
#include "lib/runner/decode_timer.h"
#include "lib/runner/device.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// What is measured where the command line does not say it: what a server does on a GPU, and what
// takes seconds on a CPU.
constexpr DecodeSetting kOnGpu{32, 8192}, kOnCpu{1, 1024};

std::vector<DecodeSetting> SettingsOf(const BenchArguments& arguments, const std::string& device) {
  const DecodeSetting usual = device == "cpu" ? kOnCpu : kOnGpu;
  std::vector<int64_t> batches = arguments.batches, contexts = arguments.contexts;
  if (batches.empty()) batches.push_back(usual.batch);
  if (contexts.empty()) contexts.push_back(usual.context_tokens);
  std::vector<DecodeSetting> settings;
  for (const int64_t batch : batches) {
    for (const int64_t context : contexts) settings.push_back({batch, context});
  }
  return settings;
}

ModelConfig ConfigOf(const BenchArguments& arguments) {
  if (fs::is_regular_file(arguments.model)) return ReadModelConfig(arguments.model);
  ModelConfig config = ReadConfigOf(arguments.model);
  if (!arguments.synthetic && !WeightsOf(arguments.model)) {
    throw Error(
        fmt::format("reading {}: found no weights, expected a checkpoint, or --synthetic "
                    "for the shapes of its config.json alone",
                    arguments.model.string()));
  }
  return config;
}

}  // namespace

ExitCode RunBench(const BenchArguments& arguments, const Invocation& invocation) {
  const ModelConfig config = ConfigOf(arguments);
  const Target target = TargetFor(FindTarget(arguments.target), config);
  const std::unique_ptr<DecodeTimer> timer = MakeDecodeTimer(config, arguments.device);
  DecodeBench bench;
  bench.settings = SettingsOf(arguments, DescribeDevice(arguments.device).name);
  bench.whole_steps = !arguments.attention_only;
  bench.pairs = target.pairs;
  bench.plans = ReferencePlans(config, *timer, target.pairs);
  for (const std::string& text : arguments.plans) {
    bench.plans.push_back(
        {text, ReadPlanSource(text, static_cast<size_t>(config.layer_count()), target)});
  }
  const bool is_file = fs::is_regular_file(arguments.model);
  const std::string name =
      ModelName(is_file ? fs::absolute(arguments.model).parent_path() : arguments.model);
  Progress progress("timing decode steps", 0, "parts");
  const LatencyTable table = MeasureDecoding(
      bench, config, name, *timer,
      [&](std::string_view line) {
        LogDetail(line);
        progress.Advance();
      },
      [](std::string_view line) { LogWarning(line); });
  progress.Finish();
  if (!arguments.out.empty()) WriteOutputFile(arguments.out, ToJson(table).dump(2) + "\n");
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(table));
  } else {
    PrintText(LatencyText(table, TerminalWidth()));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
