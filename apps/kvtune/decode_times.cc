#include "apps/kvtune/decode_times.h"

#include <fmt/format.h>

#include <string_view>

#include "lib/base/log.h"
#include "lib/base/progress.h"
#include "lib/core/artifacts.h"
#include "lib/io/checkpoint.h"
#include "lib/run/search_latency.h"
#include "lib/runner/decode_timer.h"
#include "lib/runner/device.h"

namespace kvtune {

DecodeSetting UsualSetting(const std::string& device) {
  constexpr DecodeSetting kOnGpu{32, 8192}, kOnCpu{1, 1024};
  return DescribeDevice(device).name == "cpu" ? kOnCpu : kOnGpu;
}

LatencyTable MeasureWithProgress(const DecodeBench& bench, const DescribedModel& model,
                                 DecodeTimer& timer) {
  Progress progress("timing decode steps", 0, "parts");
  LatencyTable table = MeasureDecoding(
      bench, model.config, ModelName(model.directory), timer,
      [&](std::string_view line) {
        LogDetail(line);
        progress.Advance();
      },
      [](std::string_view line) { LogWarning(line); });
  progress.Finish();
  return table;
}

TableForSearch TableOf(const SearchArguments& arguments, const DescribedModel& model,
                       const std::vector<PrecisionPair>& pairs, const std::filesystem::path& run) {
  const LatencyOptions& wanted = arguments.search.by_time;
  const std::filesystem::path file =
      wanted.file.empty() ? RunDirectory(run).latency() : wanted.file;
  std::error_code ignored;
  if (!wanted.file.empty() || std::filesystem::exists(file, ignored))
    return {.table = ReadLatencyTable(file), .file = file};
  const RunInputs& inputs = arguments.inputs;
  const DecodeSetting setting{
      wanted.setting.batch.value_or(UsualSetting(inputs.running.device).batch),
      wanted.setting.context_tokens.value_or(inputs.context)};
  LogInfo(fmt::format("search: measuring the attention of every pair at batch {} and {} tokens",
                      setting.batch, setting.context_tokens));
  const std::unique_ptr<DecodeTimer> timer = MakeDecodeTimer(model.config, inputs.running.device);
  return {.table = MeasureWithProgress(BenchForSearch(pairs, setting), model, *timer),
          .file = file,
          .is_measured = true};
}

}  // namespace kvtune
