#include "lib/core/precision_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "lib/base/error.h"
#include "lib/base/suggestion.h"

namespace kvtune {
namespace {

// The named pairs of all engines. This is a function and not a global variable, because the list
// has to exist before the first constant adds to it, and these constants are initialized before
// main() in no fixed order.
std::vector<PairName>& NamedPairs() {
  static std::vector<PairName> names;
  return names;
}

std::vector<std::string> LabelsOf(std::span<const PrecisionPair> pairs) {
  std::vector<std::string> labels;
  for (const PrecisionPair pair : pairs) labels.push_back(PairLabel(pair));
  if (!std::ranges::count(labels, "exact")) labels.emplace_back("exact");
  return labels;
}

// The formats that the pairs use, each once, in the order of the pairs.
std::vector<std::string> FormatsOf(std::span<const PrecisionPair> pairs) {
  std::vector<std::string> names;
  for (const PrecisionPair pair : pairs) {
    for (const KvFormatId id : {pair.key, pair.value}) {
      const std::string name(FormatOf(id).name);
      if (!std::ranges::count(names, name)) names.push_back(name);
    }
  }
  return names;
}

// What may stand in place of a mistyped pair. An engine that mixes many formats has hundreds of
// pairs, which nobody reads, so only its formats are listed then.
std::string WordsFor(std::span<const PrecisionPair> pairs) {
  constexpr size_t kMostListed = 20;
  const std::vector<std::string> labels = LabelsOf(pairs);
  const std::string formats = fmt::format("{}", fmt::join(FormatsOf(pairs), ", "));
  if (labels.size() > kMostListed) return "format names (key/value, or one for both) of " + formats;
  return fmt::format("one of {}, or format names (key/value) of {}", fmt::join(labels, ", "),
                     formats);
}

std::string SuggestionFor(std::string_view text, std::span<const PrecisionPair> pairs) {
  std::vector<std::string> words = LabelsOf(pairs);
  for (std::string& format : FormatsOf(pairs)) words.push_back(std::move(format));
  return DidYouMean(text, words);
}

[[noreturn]] void FailSpec(std::string_view spec, const std::string& found_and_expected) {
  throw Error(fmt::format("reading the plan \"{}\": {}", spec, found_and_expected),
              ExitCode::kUsage);
}

PrecisionPair ParsePair(std::string_view text, std::string_view spec,
                        std::span<const PrecisionPair> pairs) {
  if (text == "exact") return kExactPair;
  for (const PrecisionPair pair : pairs) {
    if (PairLabel(pair) == text) return pair;
  }
  for (const PairName& named : NamedPairs()) {
    if (named.name == text) return named.pair;
  }
  const size_t slash = text.find('/');
  const auto key = FindFormat(text.substr(0, slash));
  const auto value = slash == std::string_view::npos ? key : FindFormat(text.substr(slash + 1));
  if (!key || !value) {
    FailSpec(spec, fmt::format("found \"{}\"{}, expected {}", text, SuggestionFor(text, pairs),
                               WordsFor(pairs)));
  }
  return {*key, *value};
}

size_t ParseLayerIndex(std::string_view text, std::string_view spec, size_t layer_count) {
  size_t index = 0;
  const auto [end, reason] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (reason != std::errc() || end != text.data() + text.size() || index >= layer_count) {
    FailSpec(spec, fmt::format("found the layer \"{}\", expected 0 to {}", text, layer_count - 1));
  }
  return index;
}

}  // namespace

PairNames::PairNames(std::span<const PairName> names) {
  NamedPairs().insert(NamedPairs().end(), names.begin(), names.end());
}

std::string PairLabel(PrecisionPair pair) {
  if (pair.is_exact()) return "exact";
  for (const PairName& named : NamedPairs()) {
    if (named.pair == pair) return std::string(named.name);
  }
  const KvFormat& key = FormatOf(pair.key);
  const KvFormat& value = FormatOf(pair.value);
  if (key.has_numeric_label() && value.has_numeric_label()) {
    return key.label == value.label ? fmt::format("KV{}", key.label)
                                    : fmt::format("K{}V{}", key.label, value.label);
  }
  // Beside a word, a number would not say whose format it is, so the format's full name is taken.
  const auto word = [](const KvFormat& format) {
    return format.has_numeric_label() ? format.name : format.label;
  };
  return pair.key == pair.value ? std::string(word(key))
                                : fmt::format("{}/{}", word(key), word(value));
}

PrecisionPair ParsePairLabel(std::string_view label, std::span<const PrecisionPair> pairs) {
  if (label == "exact") return kExactPair;
  for (const PrecisionPair pair : pairs) {
    if (PairLabel(pair) == label) return pair;
  }
  const std::vector<std::string> labels = LabelsOf(pairs);
  throw Error(fmt::format("reading a precision pair: found \"{}\"{}, expected one of {}", label,
                          DidYouMean(label, labels), fmt::join(labels, ", ")));
}

bool PrecisionPlan::is_exact() const {
  return std::all_of(layers.begin(), layers.end(),
                     [](PrecisionPair pair) { return pair.is_exact(); });
}

size_t PrecisionPlanHash::operator()(const PrecisionPlan& plan) const {
  size_t hash = 0xcbf29ce484222325u;  // the hash is FNV-1a
  for (const PrecisionPair pair : plan.layers) {
    hash = (hash ^ static_cast<size_t>(pair.key)) * 0x100000001b3u;
    hash = (hash ^ static_cast<size_t>(pair.value)) * 0x100000001b3u;
  }
  return hash;
}

std::string PlanSpec(const PrecisionPlan& plan) {
  if (plan.layers.empty()) return "exact";
  std::map<PrecisionPair, size_t> counts;
  for (const PrecisionPair pair : plan.layers) ++counts[pair];
  PrecisionPair base = plan.layers.front();
  for (const PrecisionPair pair : plan.layers) {
    if (counts[pair] > counts[base]) base = pair;
  }
  std::string spec = PairLabel(base);
  for (size_t first = 0; first < plan.layers.size();) {
    size_t last = first;
    while (last + 1 < plan.layers.size() && plan.layers[last + 1] == plan.layers[first]) ++last;
    if (plan.layers[first] != base) {
      spec += first == last ? fmt::format(";{}:", first) : fmt::format(";{}-{}:", first, last);
      spec += PairLabel(plan.layers[first]);
    }
    first = last + 1;
  }
  return spec;
}

PrecisionPlan ParsePlanSpec(std::string_view spec, size_t layer_count,
                            std::span<const PrecisionPair> pairs) {
  std::string_view rest = spec;
  const auto next_part = [&rest] {
    const size_t end = rest.find(';');
    const std::string_view part = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    return part;
  };
  PrecisionPlan plan = PrecisionPlan::Uniform(ParsePair(next_part(), spec, pairs), layer_count);
  while (!rest.empty()) {
    const std::string_view part = next_part();
    const size_t colon = part.find(':');
    if (colon == std::string_view::npos) {
      FailSpec(spec, fmt::format("found \"{}\", expected LAYER:PAIR or FIRST-LAST:PAIR", part));
    }
    const std::string_view range = part.substr(0, colon);
    const size_t dash = range.find('-');
    const size_t first = ParseLayerIndex(range.substr(0, dash), spec, layer_count);
    const size_t last = dash == std::string_view::npos
                            ? first
                            : ParseLayerIndex(range.substr(dash + 1), spec, layer_count);
    if (last < first)
      FailSpec(spec, fmt::format("found the layers \"{}\", expected FIRST <= LAST", range));
    const PrecisionPair pair = ParsePair(part.substr(colon + 1), spec, pairs);
    std::fill(plan.layers.begin() + static_cast<ptrdiff_t>(first),
              plan.layers.begin() + static_cast<ptrdiff_t>(last) + 1, pair);
  }
  return plan;
}

}  // namespace kvtune
