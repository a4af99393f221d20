#include "lib/report/sensitivity_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "lib/base/bar.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

constexpr size_t kMostBarColumns = 30;
constexpr size_t kFewestBarColumns = 10;

// The index of the pair that the bars show.
size_t ShownPair(const SensitivityTable& table, const Diagnosis& diagnosis) {
  size_t shown = table.pairs.size() - 1;
  if (!diagnosis.safe_key) return shown;
  int most_bits = -1;
  for (size_t i = 0; i < table.pairs.size(); ++i) {
    if (table.pairs[i].key != *diagnosis.safe_key) continue;
    const int bits = FormatOf(table.pairs[i].value).bits;
    if (bits <= most_bits) continue;
    most_bits = bits;
    shown = i;
  }
  return shown;
}

double ErrorOf(const LayerSensitivity& layer, size_t pair) {
  const PairErrors& errors = layer.errors[pair];
  if (errors.head_e_o.empty()) return errors.e_o;
  return *std::ranges::max_element(errors.head_e_o);
}

const FragileLayer* FindFragile(const Diagnosis& diagnosis, size_t index) {
  const auto found = std::ranges::find(diagnosis.fragile, index, &FragileLayer::index);
  return found == diagnosis.fragile.end() ? nullptr : &*found;
}

std::string Remark(const FragileLayer& layer) {
  std::vector<std::string_view> causes;
  for (const FragilityCause cause : layer.causes) causes.push_back(CauseName(cause));
  return fmt::format("fragile, needs {} keys: {}", FormatOf(layer.needed_key).name,
                     fmt::join(causes, ", "));
}

}  // namespace

std::string SensitivityChart(const SensitivityTable& table, const Diagnosis& diagnosis,
                             size_t width, bool unicode) {
  const size_t pair = ShownPair(table, diagnosis);
  double largest = 0;
  for (const LayerSensitivity& layer : table.layers)
    largest = std::max(largest, ErrorOf(layer, pair));
  const size_t columns =
      width == 0 ? kMostBarColumns : std::clamp(width / 3, kFewestBarColumns, kMostBarColumns);
  TextTable chart({{"layer"}, {"", Align::kLeft}, {"error"}, {"", Align::kLeft}});
  for (const LayerSensitivity& layer : table.layers) {
    const double error = ErrorOf(layer, pair);
    const FragileLayer* fragile = FindFragile(diagnosis, layer.index);
    chart.AddRow({fmt::format("{}", layer.index),
                  Bar(largest > 0 ? error / largest : 0, columns, unicode),
                  fmt::format("{:.4f}", error), fragile ? Remark(*fragile) : ""});
  }
  return WrappedText(fmt::format("Error of the attention output under {}, of the worst KV head:\n",
                                 PairLabel(table.pairs[pair])),
                     width) +
         chart.Render(width);
}

}  // namespace kvtune
