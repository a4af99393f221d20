#include "lib/targets/plan_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/error.h"
#include "lib/base/printable.h"
#include "lib/targets/engine_settings.h"

namespace kvtune {
namespace {

constexpr std::string_view kBitsName = "KV_BITS";

std::string ListStart() { return fmt::format("{} = [", kBitsName); }

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
  std::istringstream lines{std::string(content)};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kCalibratedNote)) return ScaleNote::kCalibrated;
  }
  return ScaleNote::kNone;
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
  return TryParseJson(content, "reading a plan");
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

bool HasPythonBits(std::string_view content, std::string_view word) {
  const std::string code = WithoutComments(content);
  return code.find(ListStart()) != std::string::npos && code.find(word) != std::string::npos;
}

PrecisionPlan ReadPythonBits(std::string_view content, const std::string& source,
                             size_t layer_count, std::span<const KvFormatId> formats) {
  const auto fail = [&](const std::string& found_and_expected) {
    throw Error(fmt::format("{}: {}: {}", source, kBitsName, found_and_expected));
  };
  const std::string code = WithoutComments(content);
  const size_t name = code.find(ListStart());
  const size_t end = name == std::string::npos ? name : code.find(']', name);
  if (end == std::string::npos) fail("found no list, expected [(8, 4), ...]");
  if (code.find(ListStart(), end) != std::string::npos) fail("found twice, expected once");
  std::vector<int> bits;
  const std::string list = code.substr(name, end - name);
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
  return fmt::format("# Plan {}: {}\n", PrintableLine(name), PlanSpec(plan));
}

}  // namespace kvtune
