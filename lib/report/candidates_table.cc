#include "lib/report/candidates_table.h"

#include <fmt/format.h>

#include <cmath>
#include <span>

#include "lib/report/text_table.h"

namespace kvtune {
namespace {

std::string Labels(std::span<const PrecisionPair> pairs) {
  std::string text;
  for (const PrecisionPair pair : pairs) {
    if (!text.empty()) text += ' ';
    text += PairLabel(pair);
  }
  return text;
}

// "K4V8 < KV4, K2V8 < KV4": the dropped pair and the kept one that makes it needless.
std::string DroppedText(std::span<const DroppedPair> dropped) {
  std::string text;
  for (const DroppedPair& pair : dropped) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{}<{}", PairLabel(pair.pair), PairLabel(pair.dominated_by));
  }
  return text.empty() ? "-" : text;
}

// Writes ascending indices as ranges, for example "0-3,7".
std::string LayersText(std::span<const size_t> layers) {
  std::string text;
  for (size_t i = 0; i < layers.size();) {
    size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += fmt::format("{}", layers[i]);
    if (last > i) text += fmt::format("-{}", layers[last]);
    i = last + 1;
  }
  return text;
}

}  // namespace

std::string SensitivityText(const SensitivityTable& table, size_t width) {
  std::vector<Column> columns = {{"layer", Align::kRight}};
  for (const PrecisionPair pair : table.pairs) columns.push_back({PairLabel(pair), Align::kRight});
  TextTable text(std::move(columns));
  for (const LayerSensitivity& layer : table.layers) {
    std::vector<std::string> cells = {fmt::format("{}", layer.index)};
    for (const PairErrors& errors : layer.errors) {
      cells.push_back(fmt::format("{:.4f}", errors.e_o));
    }
    text.AddRow(std::move(cells));
  }
  return "Relative error of the attention output (e_o), lower is better:\n" + text.Render(width);
}

std::string CandidatesText(const CandidateSet& candidates, size_t width) {
  TextTable text({{"layer", Align::kRight}, {"kept", Align::kLeft}, {"dropped", Align::kLeft}});
  size_t kept = 0;
  size_t all = 0;
  for (const LayerCandidates& layer : candidates.layers) {
    kept += layer.kept.size();
    all += layer.kept.size() + layer.dropped.size();
    text.AddRow({fmt::format("{}", layer.index), Labels(layer.kept), DroppedText(layer.dropped)});
  }
  return text.Render(width) +
         fmt::format(
             "Kept {} of {} pairs by {} and {} bits. A<B: A is dropped, B has no more bits "
             "and no more error.\n",
             kept, all, candidates.metric, candidates.bits);
}

std::string GroupsText(const LayerGroups& groups, size_t width) {
  TextTable text(
      {{"group", Align::kRight}, {"layers", Align::kLeft}, {"candidates", Align::kLeft}});
  double log10_plans = 0;
  for (size_t i = 0; i < groups.groups.size(); ++i) {
    const LayerGroup& group = groups.groups[i];
    log10_plans += std::log10(static_cast<double>(group.candidates.size()));
    text.AddRow({fmt::format("{}", i), LayersText(group.layers), Labels(group.candidates)});
  }
  return text.Render(width) +
         fmt::format("{} groups, {:.3g} plans.\n", groups.groups.size(), std::pow(10, log10_plans));
}

}  // namespace kvtune
