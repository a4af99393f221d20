#include "lib/gate/measurement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "lib/core/objective.h"

namespace kvtune {
namespace {

constexpr double kTailQuantile = 0.999;

// As Quantile of lib/base/statistics.h over all tokens, from the largest ones alone.
double TailQuantile(std::vector<float>& largest, int64_t tokens) {
  const double position = kTailQuantile * static_cast<double>(tokens - 1);
  const auto lower = static_cast<int64_t>(std::floor(position));
  const auto from_top = static_cast<ptrdiff_t>(tokens - 1 - lower);
  std::nth_element(largest.begin(), largest.begin() + from_top, largest.end(), std::greater<>());
  const double low = largest[static_cast<size_t>(from_top)];
  const double fraction = position - static_cast<double>(lower);
  if (fraction == 0) return low;
  const double high = *std::min_element(largest.begin(), largest.begin() + from_top);
  return low + fraction * (high - low);
}

double SumOf(const PromptScore& prompt, Metric metric) {
  if (metric == Metric::kKlMean) return prompt.kl_sum;
  if (metric == Metric::kDeltaNll) return prompt.nll_sum - prompt.exact_nll_sum;
  return static_cast<double>(prompt.top1_matches);
}

// More nats than any token can lose in float32, and few enough that no sum of them overflows.
constexpr double kMostNatsPerToken = 1e6;

// Nats per token by which rounding may bring a KL below 0, or the sum of a tail over that of all
// tokens.
constexpr double kRoundingPerToken = 1e-6;
constexpr double kRelativeRounding = 1e-5;

// Of a prompt. Sums over a million such prompts fit.
constexpr int64_t kMostTokens = int64_t{1} << 40;

// A petabyte a token: no cache is that large, and differences stay exact.
constexpr double kMostBytesPerToken = 1e15;

void RequireRange(const JsonFields& fields, std::string_view key, double found, double low,
                  double high) {
  if (found >= low && found <= high) return;  // never so for what is not a number
  fields.Fail(key, fmt::format("found {}, expected {:.6g} to {:.6g}", found, low, high));
}

// A part of a prompt's tokens: no value below 0, the largest first, no more in all than the sum of
// all tokens.
void RequireTail(const JsonFields& fields, const PromptScore& prompt) {
  double sum = 0;
  for (const float value : prompt.token_kl) {
    const auto kl = static_cast<double>(value);
    RequireRange(fields, "kl_tail", kl, -kRoundingPerToken, kMostNatsPerToken);
    sum += kl;
  }
  if (!std::ranges::is_sorted(prompt.token_kl, std::greater<>())) {
    fields.Fail("kl_tail", "found smaller values before larger ones, expected the largest first");
  }
  const double rounding = kRelativeRounding * std::abs(prompt.kl_sum) +
                          kRoundingPerToken * static_cast<double>(prompt.tokens);
  if (sum > prompt.kl_sum + rounding) {
    fields.Fail("kl_tail", fmt::format("found {} nats in all, expected at most the {} of kl_sum",
                                       sum, prompt.kl_sum));
  }
}

// A baseline keeps the difference to the exact model's nll only; the exact model's own is then 0.
PromptScore PromptFromJson(JsonFields fields) {
  PromptScore prompt{.tokens = fields.Integer("tokens"),
                     .kl_sum = fields.Number("kl_sum"),
                     .nll_sum = fields.Number("delta_nll_sum"),
                     .exact_nll_sum = 0,
                     .top1_matches = fields.Integer("top1_matches"),
                     .token_kl = {}};
  for (const double kl : fields.Numbers("kl_tail"))
    prompt.token_kl.push_back(static_cast<float>(kl));
  fields.RequireNoOthers();
  if (prompt.tokens < 1)
    fields.Fail("tokens", fmt::format("found {}, expected at least 1", prompt.tokens));
  if (prompt.tokens > kMostTokens)
    fields.Fail("tokens", fmt::format("found {}, expected at most {}", prompt.tokens, kMostTokens));
  if (prompt.top1_matches < 0 || prompt.top1_matches > prompt.tokens) {
    fields.Fail("top1_matches",
                fmt::format("found {}, expected 0 to {}", prompt.top1_matches, prompt.tokens));
  }
  const double most = kMostNatsPerToken * static_cast<double>(prompt.tokens);
  RequireRange(fields, "kl_sum", prompt.kl_sum,
               -kRoundingPerToken * static_cast<double>(prompt.tokens), most);
  RequireRange(fields, "delta_nll_sum", prompt.nll_sum, -most, most);
  RequireTail(fields, prompt);
  return prompt;
}

// One character for each item: "1" for a right answer, "0" for a wrong one.
std::vector<char> AnswersFromJson(JsonFields& fields) {
  const std::string text = fields.String("answers");
  if (text.empty() || text.find_first_not_of("01") != std::string::npos) {
    fields.Fail("answers",
                fmt::format("found \"{}\", expected one 0 or 1 for each item", text.substr(0, 40)));
  }
  std::vector<char> answers;
  for (const char verdict : text) answers.push_back(verdict == '1');
  return answers;
}

}  // namespace

std::string_view MetricName(Metric metric) {
  switch (metric) {
    case Metric::kKlMean:
      return Describe(Objective::kMeanKl).name;
    case Metric::kKlP999:
      return "kl_p999";
    case Metric::kTop1Agreement:
      return "top1_agreement";
    case Metric::kDeltaNll:
      return "delta_nll";
    case Metric::kBytesPerToken:
      return "bytes_per_token";
    case Metric::kAccuracy:
      return "accuracy";
  }
  return "";
}

double WorseSign(Metric metric) {
  if (metric == Metric::kKlMean) return Describe(Objective::kMeanKl).worse_direction;
  return metric == Metric::kTop1Agreement || metric == Metric::kAccuracy ? -1 : 1;
}

std::vector<Metric> MetricsOf(const Measurement& measurement) {
  std::vector<Metric> metrics(std::begin(kMetrics), std::end(kMetrics));
  if (measurement.answers.empty()) std::erase(metrics, Metric::kAccuracy);
  return metrics;
}

size_t TailLength(std::span<const int64_t> tokens_of_prompts) {
  const int64_t longest =
      tokens_of_prompts.empty() ? 0 : *std::ranges::max_element(tokens_of_prompts);
  const double most = static_cast<double>(longest) * static_cast<double>(tokens_of_prompts.size());
  return static_cast<size_t>(std::ceil((1 - kTailQuantile) * most)) + 2;
}

PromptScore WithTailOnly(PromptScore score, size_t tail) {
  std::vector<float> largest(std::min(tail, score.token_kl.size()));
  std::ranges::partial_sort_copy(score.token_kl, largest, std::greater<>());
  score.token_kl = std::move(largest);
  return score;
}

double ValueOver(const Measurement& measurement, Metric metric, std::span<const size_t> drawn) {
  int64_t tokens = 0;
  double sum = 0;
  std::vector<float> largest;
  for (const size_t i : drawn) {
    const PromptScore& prompt = measurement.prompts[i];
    tokens += prompt.tokens;
    if (metric == Metric::kKlP999) {
      largest.insert(largest.end(), prompt.token_kl.begin(), prompt.token_kl.end());
    } else {
      sum += SumOf(prompt, metric);
    }
  }
  if (metric == Metric::kKlP999) return TailQuantile(largest, tokens);
  return sum / static_cast<double>(tokens);
}

double ValueOf(const Measurement& measurement, Metric metric) {
  if (metric == Metric::kBytesPerToken) return measurement.bytes_per_token;
  if (metric == Metric::kAccuracy) {
    const auto right = std::ranges::count_if(measurement.answers, std::identity());
    return static_cast<double>(right) / static_cast<double>(measurement.answers.size());
  }
  std::vector<size_t> all(measurement.prompts.size());
  std::iota(all.begin(), all.end(), size_t{0});
  return ValueOver(measurement, metric, all);
}

Json ToJson(const Measurement& measurement) {
  Json json = {{"bytes_per_token", measurement.bytes_per_token}, {"prompts", Json::array()}};
  for (const PromptScore& prompt : measurement.prompts) {
    json["prompts"].push_back({{"tokens", prompt.tokens},
                               {"kl_sum", prompt.kl_sum},
                               {"delta_nll_sum", prompt.nll_sum - prompt.exact_nll_sum},
                               {"top1_matches", prompt.top1_matches},
                               {"kl_tail", prompt.token_kl}});
  }
  if (!measurement.answers.empty()) {
    std::string answers;
    for (const char right : measurement.answers) answers += right != 0 ? '1' : '0';
    json["answers"] = std::move(answers);
  }
  return json;
}

Measurement MeasurementFromJson(JsonFields fields) {
  Measurement measurement{.bytes_per_token = fields.Number("bytes_per_token"), .prompts = {}};
  std::vector<int64_t> tokens;
  for (JsonFields& prompt : fields.Objects("prompts")) {
    measurement.prompts.push_back(PromptFromJson(std::move(prompt)));
    tokens.push_back(measurement.prompts.back().tokens);
  }
  if (fields.Has("answers")) measurement.answers = AnswersFromJson(fields);
  fields.RequireNoOthers();
  RequireRange(fields, "bytes_per_token", measurement.bytes_per_token,
               std::numeric_limits<double>::min(), kMostBytesPerToken);
  if (tokens.empty()) fields.Fail("prompts", "found none, expected one entry a prompt");
  const size_t tail = TailLength(tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const size_t expected = std::min(tail, static_cast<size_t>(tokens[i]));
    const size_t found = measurement.prompts[i].token_kl.size();
    if (found == expected) continue;
    fields.Fail("prompts", fmt::format("found {} values in kl_tail of prompt {}, expected {}",
                                       found, i, expected));
  }
  return measurement;
}

}  // namespace kvtune
