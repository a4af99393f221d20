#include "lib/gate/gate_result.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace kvtune {
namespace {

std::string FailureOf(const MetricVerdict& verdict) {
  std::string text =
      fmt::format("{} {:.4g} -> {:.4g}", MetricName(verdict.metric), verdict.before, verdict.after);
  if (verdict.flips) {
    text += ", " + FlipsText(*verdict.flips);
  }
  if (verdict.change != Interval{}) {
    text += fmt::format(", change in [{:.3g}, {:.3g}]", verdict.change.low, verdict.change.high);
  }
  if (verdict.outcome == Outcome::kOverLimit)
    return text + fmt::format(", limit {:.4g}", *verdict.limit);
  return text + fmt::format(", allowed {:.3g}", verdict.allowed);
}

std::string PassSentence(const GateResult& result) {
  std::string same, explained, better;
  size_t same_count = 0;
  for (const MetricVerdict& verdict : result.metrics) {
    const std::string name(MetricName(verdict.metric));
    if (verdict.outcome == Outcome::kSame) ++same_count;
    if (verdict.outcome == Outcome::kExplained) explained += (explained.empty() ? "" : ", ") + name;
    if (verdict.outcome == Outcome::kBetter) better += (better.empty() ? "" : ", ") + name;
  }
  if (same_count == result.metrics.size()) return "the same as the baseline";
  std::string text = explained.empty() ? "" : "the interval explains the change of " + explained;
  if (!better.empty()) text += (text.empty() ? "" : "; ") + ("better: " + better);
  return text.empty() ? "within tolerance" : text;
}

Json BlameToJson(const Blame& blame) {
  return {{"layer", blame.layer},
          {"toward", blame.toward == Toward::kBaseline ? "baseline" : "exact"},
          {"pair", blame.pair},
          {"replacement", blame.replacement},
          {"metric", MetricName(blame.metric)},
          {"after", blame.after},
          {"replaced", blame.replaced}};
}

Json VerdictToJson(const MetricVerdict& verdict) {
  Json json = {{"metric", MetricName(verdict.metric)},
               {"before", verdict.before},
               {"after", verdict.after},
               {"change", verdict.after - verdict.before},
               {"change_interval", {verdict.change.low, verdict.change.high}},
               {"allowed", verdict.allowed},
               {"limit", nullptr},
               {"outcome", OutcomeName(verdict.outcome)}};
  if (verdict.limit) json["limit"] = *verdict.limit;
  if (verdict.flips) {
    json["items"] = verdict.flips->items;
    json["lost"] = verdict.flips->lost;
    json["gained"] = verdict.flips->gained;
    json["mcnemar_p"] = McNemarP(verdict.flips->lost, verdict.flips->gained);
  }
  return json;
}

}  // namespace

std::string_view GateStatusName(GateStatus status) {
  switch (status) {
    case GateStatus::kPassed:
      return "passed";
    case GateStatus::kFailed:
      return "failed";
    case GateStatus::kNotJudged:
      return "not judged";
  }
  return "";
}

std::string BlameSentence(const Blame& blame) {
  const char* origin = blame.toward == Toward::kBaseline ? "as in the baseline" : "unquantized";
  return fmt::format("layer {} explains it best: with {} {}, not {}, {} is {:.4g}", blame.layer,
                     blame.replacement, origin, blame.pair, MetricName(blame.metric),
                     blame.replaced);
}

std::string Sentence(const GateResult& result) {
  if (result.status == GateStatus::kNotJudged) return result.error;
  std::string text;
  for (const MetricVerdict& verdict : result.metrics) {
    if (Fails(verdict.outcome)) text += (text.empty() ? "" : "; ") + FailureOf(verdict);
  }
  if (text.empty()) return PassSentence(result);
  if (result.blame) text += "; " + BlameSentence(*result.blame);
  return text;
}

std::string FlipsText(const Flips& flips) {
  return fmt::format("{} lost and {} gained of {} items (McNemar's p {:.2g})", flips.lost,
                     flips.gained, flips.items, McNemarP(flips.lost, flips.gained));
}

ExitCode ExitCodeOf(std::span<const GateResult> results) {
  const auto any = [&](GateStatus status) {
    return std::ranges::any_of(results,
                               [&](const GateResult& result) { return result.status == status; });
  };
  if (any(GateStatus::kFailed)) return ExitCode::kGateFailed;
  return any(GateStatus::kNotJudged) || results.empty() ? ExitCode::kError : ExitCode::kOk;
}

Json ToJson(std::span<const GateResult> results) {
  const ExitCode exit_code = ExitCodeOf(results);
  Json json = {{"passed", exit_code == ExitCode::kOk},
               {"exit_code", static_cast<int>(exit_code)},
               {"configs", Json::array()}};
  for (const GateResult& result : results) {
    Json metrics = Json::array();
    for (const MetricVerdict& verdict : result.metrics) metrics.push_back(VerdictToJson(verdict));
    json["configs"].push_back({{"name", result.name},
                               {"config", result.file},
                               {"status", GateStatusName(result.status)},
                               {"message", Sentence(result)},
                               {"metrics", std::move(metrics)},
                               {"blame", result.blame ? BlameToJson(*result.blame) : Json(nullptr)},
                               {"notes", result.notes},
                               {"seconds", result.seconds}});
  }
  return json;
}

}  // namespace kvtune
