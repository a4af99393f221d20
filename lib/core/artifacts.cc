#include "lib/core/artifacts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <tuple>

#include "lib/base/error.h"

namespace kvtune {
namespace {

// Labels are the keys of objects in the files, so two pairs with the same label would overwrite
// each other.
void RequireDistinctLabels(std::span<const PrecisionPair> pairs) {
  for (size_t i = 0; i < pairs.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (PairLabel(pairs[i]) != PairLabel(pairs[j])) continue;
      throw Error(fmt::format(
          "writing precision pairs: found the label {} twice ({}/{} and {}/{}), expected each once",
          PairLabel(pairs[i]), FormatOf(pairs[j].key).name, FormatOf(pairs[j].value).name,
          FormatOf(pairs[i].key).name, FormatOf(pairs[i].value).name));
    }
  }
}

KvFormatId ReadFormat(JsonFields& fields, std::string_view key) {
  const std::string name = fields.String(key);
  const auto format = FindFormat(name);
  if (!format) {
    fields.Fail(key, fmt::format("found \"{}\", expected one of {}", name, FormatNames()));
  }
  return *format;
}

}  // namespace

std::vector<std::filesystem::path> RunDirectory::files() const {
  return {run(),      sensitivity(), diagnosis(), candidates(), groups(), evaluations(),
          scouting(), held_out(),    answers(),   lock(),       front()};
}

void RunDirectory::RequireOutside(const std::filesystem::path& out,
                                  std::string_view command) const {
  for (const std::filesystem::path& file : files()) {
    std::error_code ignored;
    if (!std::filesystem::equivalent(out, file, ignored)) continue;
    throw Error(fmt::format("{}: found --out {} to be a file of the run, expected another file",
                            command, out.string()),
                ExitCode::kUsage);
  }
}

JsonFields OpenArtifact(const Json& json, const std::string& source) {
  JsonFields fields(json, source);
  const int64_t version = fields.Integer("schema_version");
  if (version != kSchemaVersion) {
    fields.Fail("schema_version", fmt::format("found {}, expected {}", version, kSchemaVersion));
  }
  RequireFinite(json, source);
  return fields;
}

Json ReadArtifact(const std::filesystem::path& path, Artifact artifact) {
  const ArtifactKind& kind = KindOf(artifact);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw Error(fmt::format("reading {}: found no such file, expected one written by `{}`",
                            path.string(), kind.made_by));
  }
  return Upgraded(ReadJsonFile(path), kind, path.string());
}

void RequireFinite(const Json& json, const std::string& where) {
  if (json.is_number_float() && !std::isfinite(json.get<double>())) {
    throw Error(fmt::format("{}: found {}, expected a finite number", where, json.get<double>()));
  }
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      if (value.is_structured() || value.is_number_float())
        RequireFinite(value, where + ": " + key);
    }
  } else if (json.is_array()) {
    for (size_t i = 0; i < json.size(); ++i) {
      if (json[i].is_structured() || json[i].is_number_float()) {
        RequireFinite(json[i], fmt::format("{}[{}]", where, i));
      }
    }
  }
}

Json PairFormatsToJson(PrecisionPair pair) {
  return {{"key", FormatOf(pair.key).name}, {"value", FormatOf(pair.value).name}};
}

PrecisionPair PairFormatsFromJson(JsonFields fields) {
  const PrecisionPair pair{ReadFormat(fields, "key"), ReadFormat(fields, "value")};
  fields.RequireNoOthers();
  return pair;
}

Json PairLabelsToJson(std::span<const PrecisionPair> pairs) {
  Json labels = Json::array();
  for (const PrecisionPair pair : pairs) labels.push_back(PairLabel(pair));
  return labels;
}

void WritePairs(Json& object, std::span<const PrecisionPair> pairs) {
  RequireDistinctLabels(pairs);
  Json formats = Json::array();
  for (const PrecisionPair pair : pairs) formats.push_back(PairFormatsToJson(pair));
  object["pairs"] = PairLabelsToJson(pairs);
  object["pair_formats"] = std::move(formats);
}

std::vector<PrecisionPair> ReadPairs(JsonFields& fields) {
  std::vector<PrecisionPair> pairs;
  for (JsonFields& formats : fields.Objects("pair_formats")) {
    pairs.push_back(PairFormatsFromJson(std::move(formats)));
  }
  const std::vector<std::string> labels = fields.Strings("pairs");
  if (labels.size() != pairs.size()) {
    fields.Fail("pair_formats",
                fmt::format("found {} entries, expected {}, one for each of \"pairs\"",
                            pairs.size(), labels.size()));
  }
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (labels[i] != PairLabel(pairs[i])) {
      fields.Fail("pair_formats",
                  fmt::format("found the formats of {} at [{}], expected those of {}",
                              PairLabel(pairs[i]), i, labels[i]));
    }
    if (std::find(labels.begin(), labels.begin() + static_cast<ptrdiff_t>(i), labels[i]) !=
        labels.begin() + static_cast<ptrdiff_t>(i)) {
      fields.Fail("pairs", fmt::format("found {} twice, expected it once", labels[i]));
    }
  }
  return pairs;
}

std::vector<PrecisionPair> ReadPairLabels(JsonFields& fields, std::string_view key,
                                          std::span<const PrecisionPair> pairs) {
  std::vector<PrecisionPair> read;
  for (const std::string& label : fields.Strings(key)) {
    const auto found = std::find_if(pairs.begin(), pairs.end(),
                                    [&](PrecisionPair pair) { return PairLabel(pair) == label; });
    if (found == pairs.end()) {
      fields.Fail(key,
                  fmt::format("found \"{}\", expected a label of the file's \"pairs\"", label));
    }
    if (std::find(read.begin(), read.end(), *found) != read.end()) {
      fields.Fail(key, fmt::format("found {} twice, expected it once", label));
    }
    read.push_back(*found);
  }
  if (read.empty()) fields.Fail(key, "found no pairs, expected at least one");
  return read;
}

std::vector<PrecisionPair> DistinctPairs(std::vector<PrecisionPair> pairs) {
  const auto order = [](PrecisionPair pair) {
    const int key = FormatOf(pair.key).bits, value = FormatOf(pair.value).bits;
    return std::tuple(-(key + value), -key, pair);
  };
  std::sort(pairs.begin(), pairs.end(),
            [&](PrecisionPair a, PrecisionPair b) { return order(a) < order(b); });
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

size_t ReadCount(JsonFields& fields, std::string_view key) {
  const int64_t count = fields.Integer(key);
  if (count < 0) fields.Fail(key, fmt::format("found {}, expected 0 or more", count));
  return static_cast<size_t>(count);
}

}  // namespace kvtune
