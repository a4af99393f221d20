// kvtune bench: what plans take on this machine's device, with a cache that is really packed.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/decode_times.h"
#include "apps/kvtune/output.h"
#include "lib/base/file.h"
#include "lib/io/checkpoint.h"
#include "lib/io/model_directory.h"
#include "lib/report/latency_text.h"
#include "lib/report/text_table.h"
#include "lib/run/decode_bench.h"
#include "lib/run/inspection.h"
#include "lib/run/plan_source.h"
#include "lib/run/result_file.h"
#include "lib/runner/decode_timer.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

std::vector<DecodeSetting> SettingsOf(const BenchArguments& arguments, const std::string& device) {
  const DecodeSetting usual = UsualSetting(device);
  std::vector<int64_t> batches = arguments.batches, contexts = arguments.contexts;
  if (batches.empty()) batches.push_back(usual.batch);
  if (contexts.empty()) contexts.push_back(usual.context_tokens);
  std::vector<DecodeSetting> settings;
  for (const int64_t batch : batches) {
    for (const int64_t context : contexts) settings.push_back({batch, context});
  }
  return settings;
}

DescribedModel ModelOf(const BenchArguments& arguments) {
  DescribedModel model = DescribeModel(arguments.model);
  if (!model.is_file && !arguments.synthetic && !WeightsOf(model.directory)) {
    throw Error(
        fmt::format("reading {}: found no weights, expected a checkpoint, or --synthetic "
                    "for the shapes of its config.json alone",
                    arguments.model.string()));
  }
  return model;
}

}  // namespace

ExitCode RunBench(const BenchArguments& arguments, const Invocation& invocation) {
  std::vector<std::filesystem::path> inputs = invocation.options_files;
  inputs.push_back(arguments.model);
  inputs.insert(inputs.end(), arguments.plans.begin(), arguments.plans.end());
  RequireResultFile(arguments.out, "--out", inputs);
  const DescribedModel model = ModelOf(arguments);
  const ModelConfig& config = model.config;
  const Target target = TargetFor(FindTarget(arguments.target), config);
  const std::unique_ptr<DecodeTimer> timer = MakeDecodeTimer(config, arguments.device);
  DecodeBench bench;
  bench.settings = SettingsOf(arguments, arguments.device);
  bench.whole_steps = !arguments.attention_only;
  bench.pairs = target.pairs;
  bench.counted_bytes = [&](const PrecisionPlan& plan, int64_t tokens) {
    return CostOf(target, plan, config, tokens).bytes_per_token * static_cast<double>(tokens);
  };
  bench.plans = ReferencePlans(config, *timer, target.pairs);
  for (const std::string& text : arguments.plans) {
    bench.plans.push_back(
        {text, ReadPlanSource(text, static_cast<size_t>(config.layer_count()), target)});
  }
  const LatencyTable table = MeasureWithProgress(bench, model, *timer);
  if (!arguments.out.empty()) WriteOutputFile(arguments.out, ToJson(table).dump(2) + "\n");
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(table));
  } else {
    PrintText(LatencyText(table, TerminalWidth()));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
