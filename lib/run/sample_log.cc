#include "lib/run/sample_log.h"

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
  if (!fs::exists(path_, ignored)) return;
  const std::string content = ReadFile(path_);
  std::string kept;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = content.find('\n', begin);
    if (end == std::string::npos) break;  // torn
    const std::string_view line(content.data() + begin, end - begin);
    begin = end + 1;
    if (!IsIntact(line)) continue;
    const Json json = ParseJsonLine(line, path_.string());
    JsonFields fields(json, path_.string());
    if (!fields.Has("evaluation") || fields.String("evaluation") != evaluation_) continue;
    known_[{fields.String("spec"), static_cast<size_t>(fields.Integer("item"))}] = {
        fields.String("generation"), fields.Integer("tokens")};
    kept += line;
    kept += '\n';
  }
  if (kept != content) WriteOutputFile(path_, kept);
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

}  // namespace kvtune
