#include "lib/run/evaluation_log.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/core/artifacts.h"
#include "lib/run/checked_line.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

struct Line {
  LoggedEvaluation evaluation;
  size_t batch_size = 0;
};

std::string LineOf(const PrecisionPlan& plan, const PlanScore& score, const PlanCost& cost,
                   int64_t batch, size_t batch_size) {
  Json json = Json::object();
  WritePlan(json, plan, cost);
  json["calibration"] = ToJson(score);
  if (score.expected_loss) json["expected_kl"] = *score.expected_loss;
  json["prompt_tokens"] = Json::array();
  json["prompt_kl"] = Json::array();
  for (const PromptScore& prompt : score.per_prompt) {
    json["prompt_tokens"].push_back(prompt.tokens);
    json["prompt_kl"].push_back(prompt.kl_sum);
  }
  json["batch"] = batch;
  json["batch_size"] = batch_size;
  RequireFinite(json, fmt::format("logging the plan \"{}\"", PlanSpec(plan)));
  return CheckedLine(json.dump());
}

std::vector<PromptScore> ReadPrompts(JsonFields& fields) {
  const std::vector<int64_t> tokens = fields.Integers("prompt_tokens");
  const std::vector<double> losses = fields.Numbers("prompt_kl");
  if (tokens.size() != losses.size()) {
    fields.Fail("prompt_kl", fmt::format("found {} prompts, expected {} as \"prompt_tokens\" says",
                                         losses.size(), tokens.size()));
  }
  std::vector<PromptScore> prompts(tokens.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    prompts[i].tokens = tokens[i];
    prompts[i].kl_sum = losses[i];
  }
  return prompts;
}

Line ParseLine(std::string_view text, const std::string& source, size_t layer_count) {
  const Json json = ParseJsonLine(text, source);
  JsonFields fields(json, source);
  Line line;
  CostedPlan costed = ReadPlan(fields);
  line.evaluation.plan = std::move(costed.plan);
  line.evaluation.cost = costed.cost;
  line.evaluation.score = PlanScoreFromJson(fields.Object("calibration"));
  if (fields.Has("expected_kl")) line.evaluation.score.expected_loss = fields.Number("expected_kl");
  line.evaluation.score.per_prompt = ReadPrompts(fields);
  line.evaluation.batch = fields.Integer("batch");
  line.batch_size = ReadCount(fields, "batch_size");
  fields.Ignore("checksum");
  fields.RequireNoOthers();
  if (line.evaluation.plan.layers.size() != layer_count) {
    fields.Fail("layers", fmt::format("found {} layers, expected {}",
                                      line.evaluation.plan.layers.size(), layer_count));
  }
  return line;
}

// Collects lines into batches and holds back the last one until it is whole.
class BatchReader {
 public:
  void Add(Line line, const std::string& source, size_t end) {
    if (open_.empty()) open_size_ = line.batch_size;
    if (line.evaluation.batch != content_.batch_count || line.batch_size != open_size_ ||
        open_size_ == 0) {
      throw Error(fmt::format("{}: found batch {} of {} plans, expected batch {}{}", source,
                              line.evaluation.batch, line.batch_size, content_.batch_count,
                              open_.empty() ? "" : fmt::format(" of {} plans", open_size_)));
    }
    open_.push_back(std::move(line.evaluation));
    if (open_.size() < open_size_) return;
    for (LoggedEvaluation& evaluation : open_)
      content_.evaluations.push_back(std::move(evaluation));
    open_.clear();
    ++content_.batch_count;
    content_.intact_bytes = end;
  }

  LogContent Take() { return std::move(content_); }

 private:
  LogContent content_;
  std::vector<LoggedEvaluation> open_;
  size_t open_size_ = 0;
};

}  // namespace

LogContent ReadEvaluationLog(const fs::path& path, size_t layer_count) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  return ParseEvaluationLog(ReadFile(path), path.string(), layer_count);
}

LogContent ParseEvaluationLog(std::string_view text, const std::string& source,
                              size_t layer_count) {
  BatchReader batches;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    ++number;
    const size_t newline = text.find('\n', begin);
    if (newline == std::string_view::npos) break;  // torn
    const size_t end = newline + 1;
    const std::string_view line = text.substr(begin, newline - begin);
    const std::string where = fmt::format("{}: line {}", source, number);
    if (!IsIntact(line)) {
      if (end == text.size()) break;
      throw Error(
          fmt::format("{}: found a line that does not match its checksum, expected one as "
                      "kvtune wrote it",
                      where));
    }
    batches.Add(ParseLine(line, where, layer_count), where, end);
    begin = end;
  }
  return batches.Take();
}

EvaluationLog::EvaluationLog(fs::path path, size_t layer_count)
    : path_(std::move(path)),
      content_(ReadEvaluationLog(path_, layer_count)),
      next_batch_(content_.batch_count) {
  std::error_code ignored;
  if (!fs::exists(path_, ignored)) return;
  const std::string text = ReadFile(path_);
  if (text.size() == content_.intact_bytes) return;
  // Written anew and not cut in place: what a link leads to is not ours to cut.
  WriteFileAtomically(path_, std::string_view(text).substr(0, content_.intact_bytes));
}

void EvaluationLog::Append(std::span<const PrecisionPlan> plans, std::span<const PlanScore> scores,
                           const CostFunction& cost) {
  if (plans.empty()) return;
  std::string lines;
  for (size_t i = 0; i < plans.size(); ++i) {
    lines += LineOf(plans[i], scores[i], cost(plans[i]), next_batch_, plans.size());
  }
  AppendToFile(path_, lines);
  ++next_batch_;
}

}  // namespace kvtune
