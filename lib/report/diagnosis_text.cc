#include "lib/report/diagnosis_text.h"

#include <fmt/format.h>

#include <map>
#include <span>
#include <vector>

#include "lib/report/text_table.h"

namespace kvtune {
namespace {

// Joins the parts as in "a", "a and b" and "a, b and c".
std::string Listed(std::span<const std::string> parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += i + 1 == parts.size() ? " and " : ", ";
    text += parts[i];
  }
  return text;
}

// Returns "Layers 0 and 27" or "Layer 3".
std::string LayersText(const std::vector<size_t>& layers) {
  std::vector<std::string> numbers;
  for (const size_t layer : layers) numbers.push_back(fmt::format("{}", layer));
  return (layers.size() == 1 ? "Layer " : "Layers ") + Listed(numbers);
}

// Returns, for example, "Layers 0 and 27 need at least int8 keys".
std::string Needs(const std::vector<size_t>& layers, KvFormatId key) {
  return fmt::format("{} need{} {}{} keys", LayersText(layers), layers.size() == 1 ? "s" : "",
                     FormatOf(key).is_exact() ? "" : "at least ", FormatOf(key).name);
}

std::vector<std::string> Row(std::string layer, std::string key, const KeyMeasurements& measured,
                             double output_error, std::string causes) {
  return {std::move(layer),
          std::move(key),
          fmt::format("{:.3f}", output_error),
          fmt::format("{:.3f}", measured.key_error),
          fmt::format("{:.1f}", measured.key_outlier_ratio),
          fmt::format("{:.1f}", measured.key_bias_norm),
          std::move(causes)};
}

std::string FragileRows(const Diagnosis& diagnosis, size_t width) {
  TextTable table({{"layer", Align::kRight},
                   {"keys", Align::kLeft},
                   {"output error", Align::kRight},
                   {"key error", Align::kRight},
                   {"largest channel", Align::kRight},
                   {"key bias", Align::kRight},
                   {"stands out", Align::kLeft}});
  const std::string safe(FormatOf(*diagnosis.safe_key).name);
  for (const FragileLayer& layer : diagnosis.fragile) {
    std::vector<std::string> causes;
    for (const FragilityCause cause : layer.causes) causes.emplace_back(CauseName(cause));
    table.AddRow(Row(fmt::format("{}", layer.index), std::string(FormatOf(layer.needed_key).name),
                     layer.measured, layer.measured.output_error, Listed(causes)));
  }
  table.AddRow(
      Row("others", safe, diagnosis.ordinary_median, diagnosis.ordinary_output_error, "-"));
  return table.Render(width) +
         fmt::format(
             "Errors with {} keys, of the worst KV head; key error: of the median channel; "
             "largest channel: over the median one. Others: the worst output error, else "
             "medians.\n",
             safe);
}

}  // namespace

std::string DiagnosisSentence(const Diagnosis& diagnosis) {
  if (!diagnosis.safe_key) return "";
  const std::string verdict = fmt::format(
      "{} keys are {} (attention output error up to {:.3f}).\n", FormatOf(*diagnosis.safe_key).name,
      diagnosis.is_safe ? "safe" : "not safe in every layer", diagnosis.ordinary_output_error);
  if (diagnosis.fragile.empty()) return "No layer stands out; " + verdict;
  std::map<KvFormatId, std::vector<size_t>> layers_of_key;
  for (const FragileLayer& layer : diagnosis.fragile) {
    layers_of_key[layer.needed_key].push_back(layer.index);
  }
  std::vector<std::string> needs;
  for (const auto& [key, layers] : layers_of_key) needs.push_back(Needs(layers, key));
  // The clauses are joined into one sentence, so only the first begins with a capital letter.
  for (size_t i = 1; i < needs.size(); ++i) needs[i][0] = 'l';
  return Listed(needs) + "; without them " + verdict;
}

std::string DiagnosisText(const Diagnosis& diagnosis, size_t width) {
  if (diagnosis.fragile.empty()) return DiagnosisSentence(diagnosis);
  return DiagnosisSentence(diagnosis) + FragileRows(diagnosis, width);
}

}  // namespace kvtune
