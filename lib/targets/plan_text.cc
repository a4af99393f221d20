#include "lib/targets/plan_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/error.h"

namespace kvtune {
namespace {

constexpr std::string_view kBitsName = "KV_BITS";

bool IsFlag(std::string_view word) {
  return word.size() > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9');
}

// Without comments; a backslash at a line's end joins lines.
std::string WithoutComments(std::string_view content) {
  std::string text;
  std::istringstream lines{std::string(content)};
  for (std::string line; std::getline(lines, line);) {
    const size_t comment = line.find('#');
    if (comment != std::string::npos && (comment == 0 || line[comment - 1] == ' '))
      line.resize(comment);
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (!line.empty() && line.back() == '\\') line.pop_back();
    text += line + ' ';
  }
  return text;
}

int BitsOf(KvFormatId id) { return FormatOf(id).bits; }

}  // namespace

std::string_view WordOf(std::span<const FormatWord> words, KvFormatId format) {
  return std::ranges::find(words, format, &FormatWord::format)->word;
}

std::string WordsOf(std::span<const FormatWord> words) {
  std::vector<std::string_view> each;
  for (const FormatWord& word : words) {
    if (std::ranges::count(each, word.word) == 0) each.push_back(word.word);
  }
  return fmt::format("{}", fmt::join(each, ", "));
}

ScaleNote ScaleNoteOf(std::string_view content) {
  return content.find(kCalibratedNote) == std::string_view::npos ? ScaleNote::kNone
                                                                 : ScaleNote::kCalibrated;
}

bool HasCalibratedScales(const PrecisionPlan& plan) {
  const auto calibrated = [](KvFormatId id) {
    return FormatOf(id).scale == ScaleKind::kCalibrated;
  };
  return std::ranges::any_of(plan.layers, [&](PrecisionPair pair) {
    return calibrated(pair.key) || calibrated(pair.value);
  });
}

std::optional<KvFormatId> FormatOfWord(std::span<const FormatWord> words, std::string_view word,
                                       ScaleNote note) {
  std::optional<KvFormatId> found;
  for (const FormatWord& each : words) {
    if (each.word != word) continue;
    const bool calibrated = FormatOf(each.format).scale == ScaleKind::kCalibrated;
    if (!found || calibrated == (note == ScaleNote::kCalibrated)) found = each.format;
  }
  return found;
}

CommandLine::CommandLine(std::string_view content, const std::string& source) : source_(source) {
  std::istringstream words{WithoutComments(content)};
  for (std::string word; words >> word;) {
    if (!IsFlag(word)) {
      if (!flags_.empty()) flags_.back().second.push_back(word);
      continue;
    }
    const size_t equals = word.find('=');
    flags_.push_back({word.substr(0, equals), {}});
    if (equals != std::string::npos) flags_.back().second.push_back(word.substr(equals + 1));
  }
}

bool CommandLine::Has(std::string_view flag) const {
  return std::ranges::any_of(flags_, [&](const auto& each) { return each.first == flag; });
}

std::vector<std::string> CommandLine::WordsAfter(std::string_view flag) const {
  const auto is_flag = [&](const auto& each) { return each.first == flag; };
  if (std::ranges::count_if(flags_, is_flag) > 1) Fail(flag, "found twice, expected once");
  const auto found = std::ranges::find_if(flags_, is_flag);
  return found == flags_.end() ? std::vector<std::string>() : found->second;
}

std::optional<std::string> CommandLine::WordAfter(std::string_view flag) const {
  if (!Has(flag)) return std::nullopt;
  const std::vector<std::string> words = WordsAfter(flag);
  if (words.size() != 1) Fail(flag, fmt::format("found {} words, expected one", words.size()));
  return words.front();
}

void CommandLine::Fail(std::string_view flag, const std::string& found_and_expected) const {
  throw Error(fmt::format("{}: {}: {}", source_, flag, found_and_expected));
}

size_t LayerIndexOf(std::string_view text, size_t layer_count, const std::string& where) {
  size_t index = 0;
  const auto [end, reason] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (reason != std::errc() || end != text.data() + text.size() || index >= layer_count) {
    throw Error(
        fmt::format("{}: found the layer \"{}\", expected 0 to {}", where, text, layer_count - 1));
  }
  return index;
}

std::optional<Json> TryJson(std::string_view content) {
  Json json = Json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return std::nullopt;
  return json;
}

bool IsJsonWith(std::string_view content, std::string_view key) {
  const std::optional<Json> json = TryJson(content);
  return json && json->is_object() && json->contains(key);
}

std::string PythonBits(const PrecisionPlan& plan) {
  constexpr size_t kPerLine = 8;
  std::string text = fmt::format("{} = [", kBitsName);
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const PrecisionPair pair = plan.layers[layer];
    text += fmt::format("{}({}, {}),", layer % kPerLine == 0 ? "\n    " : " ", BitsOf(pair.key),
                        BitsOf(pair.value));
  }
  return text + "\n]\n";
}

PrecisionPlan ReadPythonBits(std::string_view content, const std::string& source,
                             size_t layer_count, std::span<const KvFormatId> formats) {
  const auto fail = [&](const std::string& found_and_expected) {
    throw Error(fmt::format("{}: {}: {}", source, kBitsName, found_and_expected));
  };
  const size_t name = content.find(fmt::format("{} = [", kBitsName));
  const size_t end = name == std::string_view::npos ? name : content.find(']', name);
  if (end == std::string_view::npos) fail("found no list, expected [(8, 4), ...]");
  std::vector<int> bits;
  const std::string_view list = content.substr(name, end - name);
  for (size_t at = 0; at < list.size();) {
    int number = 0;
    const auto [next, reason] =
        std::from_chars(list.data() + at, list.data() + list.size(), number);
    if (reason == std::errc()) bits.push_back(number);
    at = reason == std::errc() ? static_cast<size_t>(next - list.data()) : at + 1;
  }
  if (bits.size() != 2 * layer_count) {
    fail(fmt::format("found {} numbers, expected {}, keys and values of {} layers", bits.size(),
                     2 * layer_count, layer_count));
  }
  const auto format_of = [&](int width, size_t layer) {
    if (width == FormatOf(KvFormatId::kExact).bits) return KvFormatId::kExact;
    const auto found = std::ranges::find(formats, width, BitsOf);
    if (found == formats.end()) {
      std::vector<int> known;
      for (const KvFormatId id : formats) known.push_back(BitsOf(id));
      fail(fmt::format("layer {}: found {} bits, expected one of 16, {}", layer, width,
                       fmt::join(known, ", ")));
    }
    return *found;
  };
  PrecisionPlan plan;
  for (size_t layer = 0; layer < layer_count; ++layer) {
    plan.layers.push_back(
        {format_of(bits[2 * layer], layer), format_of(bits[2 * layer + 1], layer)});
  }
  return plan;
}

std::string PlanComment(std::string_view name, const PrecisionPlan& plan) {
  return fmt::format("# Plan {}: {}\n", name, PlanSpec(plan));
}

}  // namespace kvtune
