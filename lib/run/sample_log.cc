#include "lib/run/sample_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/run/checked_line.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// A share of 0 or 1 is a verdict.
Json Verdict(double score) {
  if (score == 0 || score == 1) return score == 1;
  return score;
}

}  // namespace

SampleLog::SampleLog(fs::path path, std::string evaluation)
    : path_(std::move(path)), evaluation_(std::move(evaluation)) {
  RequireOutputFile(path_);
  std::error_code ignored;
  // Lines are appended without following links (AppendToFile).
  if (fs::is_symlink(path_, ignored)) path_ = fs::weakly_canonical(path_);
  if (!fs::exists(path_, ignored)) return;
  const std::string content = ReadFile(path_);
  std::string kept;
  for (const OwnLine& line : OwnLines(content)) {
    known_[line.key] = line.generated;
    kept += line.text;
    kept += '\n';
  }
  if (kept != content) WriteOutputFile(path_, kept);
}

std::vector<SampleLog::OwnLine> SampleLog::OwnLines(std::string_view content) const {
  std::vector<OwnLine> lines;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = content.find('\n', begin);
    if (end == std::string::npos) break;  // torn
    const std::string_view line = content.substr(begin, end - begin);
    begin = end + 1;
    if (!IsIntact(line)) continue;
    const Json json = ParseJsonLine(line, path_.string());
    JsonFields fields(json, path_.string());
    if (!fields.Has("evaluation") || fields.String("evaluation") != evaluation_) continue;
    lines.push_back({.text = line,
                     .key = {fields.String("spec"), static_cast<size_t>(fields.Integer("item"))},
                     .generated = {fields.String("generation"), fields.Integer("tokens")}});
  }
  return lines;
}

const GeneratedText* SampleLog::Find(const std::string& spec, size_t item) const {
  const auto found = known_.find({spec, item});
  return found == known_.end() ? nullptr : &found->second;
}

std::string SampleLog::TextOf(const SampleLine& line) const {
  const Json json = {{"item", line.item},
                     {"plan", line.plan},
                     {"spec", line.spec},
                     {"prompt", line.prompt},
                     {"generation", line.generated.text},
                     {"extracted", line.extracted},
                     {"flexible_extracted", line.flexible_extracted},
                     {"answer", line.answer},
                     {"correct", Verdict(line.correct)},
                     {"flexible_correct", Verdict(line.flexible_correct)},
                     {"tokens", line.generated.tokens},
                     {"evaluation", evaluation_}};
  return CheckedLine(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void SampleLog::Append(const SampleLine& line) { AppendToFile(path_, TextOf(line)); }

void SampleLog::Finish(const std::vector<SampleLine>& lines) {
  std::string text;
  for (const SampleLine& line : lines) text += TextOf(line);
  WriteOutputFile(path_, text);
}

void SampleLog::Sort() {
  std::error_code ignored;
  if (!fs::exists(path_, ignored)) return;  // nothing was generated
  const std::string content = ReadFile(path_);
  std::vector<OwnLine> lines = OwnLines(content);
  std::ranges::stable_sort(lines, {}, &OwnLine::key);
  std::string sorted;
  for (const OwnLine& line : lines) {
    sorted += line.text;
    sorted += '\n';
  }
  if (sorted != content) WriteOutputFile(path_, sorted);
}

}  // namespace kvtune
