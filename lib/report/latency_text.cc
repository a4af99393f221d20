#include "lib/report/latency_text.h"

#include <fmt/format.h>

#include "lib/base/printable.h"
#include "lib/base/quantity.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

std::string SpreadText(const Timing& timing) {
  return fmt::format("{} [{}, {}]", MillisecondsText(timing.median),
                     MillisecondsText(timing.lowest), MillisecondsText(timing.highest));
}

// The share of the copy bandwidth at which the bytes were read.
std::string ShareText(const LatencyTable& table, int64_t bytes, double milliseconds) {
  if (milliseconds <= 0 || table.copy_bytes_per_second <= 0) return "-";
  const double per_second = 1000 * static_cast<double>(bytes) / milliseconds;
  return fmt::format("{:.0f} %", 100 * per_second / table.copy_bytes_per_second);
}

std::string StepsText(const SettingLatency& setting, size_t width) {
  TextTable text({{"plan", Align::kLeft},
                  {"step ms", Align::kRight},
                  {"attention ms", Align::kRight, 3},
                  {"tokens/s"},
                  {"x first", Align::kRight, 4},
                  {"cache", Align::kRight, 2},
                  {"counted", Align::kRight, 1},
                  {"largest batch", Align::kRight, 5}});
  const double first = setting.steps.front().step.median;
  for (const StepLatency& step : setting.steps) {
    const double per_second = static_cast<double>(setting.setting.batch) * 1000 / step.step.median;
    text.AddRow({PrintableLine(step.name), SpreadText(step.step), MillisecondsText(step.attention),
                 fmt::format("{:.0f}", per_second), fmt::format("{:.2f}", first / step.step.median),
                 SizeText(static_cast<double>(step.cache_bytes)),
                 step.counted_bytes ? SizeText(static_cast<double>(*step.counted_bytes)) : "-",
                 fmt::format("{}", step.largest_batch)});
  }
  return text.Render(width);
}

std::string PairsText(const LatencyTable& table, const SettingLatency& setting, size_t width) {
  TextTable text({{"layer", Align::kLeft},
                  {"pair", Align::kLeft},
                  {"attention ms", Align::kRight},
                  {"x first", Align::kRight, 1},
                  {"of copy bandwidth", Align::kRight, 2},
                  {"read", Align::kRight, 3}});
  for (const PairLatency& pair : setting.pairs) {
    double first = pair.attention.median;
    for (const PairLatency& other : setting.pairs) {
      if (other.layer == pair.layer) {
        first = other.attention.median;
        break;
      }
    }
    text.AddRow({fmt::format("{}", pair.layer), PairLabel(pair.pair), SpreadText(pair.attention),
                 fmt::format("{:.2f}", first / pair.attention.median),
                 ShareText(table, pair.bytes, pair.attention.median),
                 SizeText(static_cast<double>(pair.bytes))});
  }
  return text.Render(width);
}

}  // namespace

std::string MillisecondsText(double milliseconds) {
  return milliseconds < 0.1    ? fmt::format("{:.4f}", milliseconds)
         : milliseconds < 10   ? fmt::format("{:.3f}", milliseconds)
         : milliseconds < 1000 ? fmt::format("{:.1f}", milliseconds)
                               : fmt::format("{:.0f}", milliseconds);
}

std::string LatencyText(const LatencyTable& table, size_t width) {
  std::string text =
      fmt::format("{} on {}, copies at {}/s\n", PrintableLine(table.model),
                  PrintableLine(table.device), SizeText(table.copy_bytes_per_second));
  for (const SettingLatency& setting : table.settings) {
    text += fmt::format("\nbatch {}, {} tokens in the cache\n", setting.setting.batch,
                        TokensText(setting.setting.context_tokens));
    if (!setting.steps.empty()) text += StepsText(setting, width) + "\n";
    text += PairsText(table, setting, width);
  }
  return text + "\n" +
         WrappedText(
             "Medians [lowest, highest]. A step is the whole model's, attention that of all "
             "layers; "
             "below it is that of one layer like the one named. x first: times the speed of the "
             "first row. Largest batch: in 90 % of the free memory, beside weights in bf16. Cache: "
             "as it is allocated; counted: as plans are compared, without the rest of last pages "
             "and the places of windows.\n",
             width);
}

}  // namespace kvtune
