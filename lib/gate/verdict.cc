#include "lib/gate/verdict.h"

#include <algorithm>
#include <cmath>

#include "lib/base/random.h"
#include "lib/base/ratio_interval.h"

namespace kvtune {
namespace {

double ValueOr(const std::map<Metric, double>& values, Metric metric, double otherwise) {
  const auto found = values.find(metric);
  return found == values.end() ? otherwise : found->second;
}

std::optional<double> LimitOf(const Limits& limits, Metric metric) {
  const auto found = limits.absolute.find(metric);
  return found == limits.absolute.end() ? std::nullopt : std::optional(found->second);
}

bool Beyond(const MetricVerdict& verdict) {
  return verdict.limit && WorseSign(verdict.metric) * (verdict.after - *verdict.limit) > 0;
}

std::vector<double> KlSums(const Measurement& measurement) {
  std::vector<double> sums;
  // Rounding may bring the loss of a nearly exact plan a little below 0.
  for (const PromptScore& prompt : measurement.prompts)
    sums.push_back(std::max(0.0, prompt.kl_sum));
  return sums;
}

// The interval of the ratio of both losses, as a change of the loss before.
std::optional<Interval> KlChange(const Measurement& before, const Measurement& after,
                                 double confidence) {
  const std::vector<double> losses = KlSums(after), others = KlSums(before);
  const auto lost = [](double loss) { return loss > 0; };
  if (std::ranges::none_of(losses, lost) || std::ranges::none_of(others, lost)) return std::nullopt;
  const Interval ratio = LogRatio(losses, others).IntervalAt(confidence);
  const double value = ValueOf(before, Metric::kKlMean);
  return Interval{value * (ratio.low - 1), value * (ratio.high - 1)};
}

// The interval of a difference of two means over tokens.
Interval MeanChange(const Measurement& before, const Measurement& after, Metric metric,
                    double confidence) {
  std::vector<double> differences, tokens;
  for (size_t i = 0; i < after.prompts.size(); ++i) {
    const double count = static_cast<double>(after.prompts[i].tokens);
    const std::span<const size_t> drawn(&i, 1);
    differences.push_back(count *
                          (ValueOver(after, metric, drawn) - ValueOver(before, metric, drawn)));
    tokens.push_back(count);
  }
  return DifferenceInterval(differences, tokens, confidence);
}

// A percentile of tokens is no mean, so prompts are drawn again and again.
Interval PercentileChange(const Measurement& before, const Measurement& after, Metric metric,
                          const VerdictOptions& options) {
  Random random(DeriveSeed(options.seed, SeedPurpose::kBootstrap));
  std::vector<double> changes(static_cast<size_t>(options.resamples));
  std::vector<size_t> drawn(after.prompts.size());
  for (double& change : changes) {
    for (size_t& prompt : drawn) prompt = random.Below(drawn.size());
    change = ValueOver(after, metric, drawn) - ValueOver(before, metric, drawn);
  }
  const double tail = (1 - options.confidence) / 2;
  const double low = Quantile(changes, tail);
  return {low, Quantile(changes, 1 - tail)};
}

Interval ChangeInterval(const Measurement& before, const Measurement& after, Metric metric,
                        const VerdictOptions& options) {
  if (metric == Metric::kKlP999) return PercentileChange(before, after, metric, options);
  const Interval difference = MeanChange(before, after, metric, options.confidence);
  if (metric != Metric::kKlMean) return difference;
  const std::optional<Interval> ratio = KlChange(before, after, options.confidence);
  if (!ratio) return difference;
  // A change that is alike in all prompts as a factor shows in the ratio, one that is alike in nats
  // shows in the difference. Both intervals hold, so the narrower end counts.
  const Interval both{std::max(ratio->low, difference.low), std::min(ratio->high, difference.high)};
  return both.low <= both.high ? both : *ratio;
}

MetricVerdict Begun(const Measurement& before, const Measurement& after, Metric metric,
                    const Limits& limits) {
  MetricVerdict verdict{.metric = metric,
                        .before = ValueOf(before, metric),
                        .after = ValueOf(after, metric),
                        .change = {},
                        .limit = LimitOf(limits, metric)};
  verdict.allowed =
      ValueOr(limits.tolerance, metric, DefaultTolerance(metric)) +
      ValueOr(limits.relative, metric, DefaultRelative(metric)) * std::abs(verdict.before);
  return verdict;
}

Outcome OutcomeOf(const MetricVerdict& verdict) {
  const double sign = WorseSign(verdict.metric);
  const double worsening = sign * (verdict.after - verdict.before);
  // The ends of the interval, turned so that up is worse.
  const double least = std::min(sign * verdict.change.low, sign * verdict.change.high);
  const double most = std::max(sign * verdict.change.low, sign * verdict.change.high);
  if (worsening == 0 && least == 0 && most == 0) return Outcome::kSame;
  if (std::abs(worsening) <= verdict.allowed) return Outcome::kWithinTolerance;
  if (worsening > 0) return least > verdict.allowed ? Outcome::kWorse : Outcome::kExplained;
  return most < -verdict.allowed ? Outcome::kBetter : Outcome::kExplained;
}

// Another type's rounding moves every metric but the bytes; of the mean KL alone it is known how
// far.
Outcome OutcomeInOtherType(const MetricVerdict& verdict) {
  if (verdict.metric == Metric::kBytesPerToken) {
    return Beyond(verdict) ? Outcome::kOverLimit : OutcomeOf(verdict);
  }
  const bool compared = verdict.metric == Metric::kKlMean;
  if (compared && OutcomeOf(verdict) == Outcome::kWorse) return Outcome::kWorse;
  if (Beyond(verdict)) return Outcome::kUnclear;
  return compared ? OutcomeOf(verdict) : Outcome::kNotComparable;
}

void Decide(TypeComparison types, MetricVerdict& verdict) {
  verdict.outcome = types == TypeComparison::kOther ? OutcomeInOtherType(verdict)
                    : Beyond(verdict)               ? Outcome::kOverLimit
                                                    : OutcomeOf(verdict);
}

}  // namespace

double DefaultRelative(Metric metric) {
  if (metric == Metric::kKlMean) return 0.02;
  return metric == Metric::kKlP999 ? 0.05 : 0;
}

double DefaultTolerance(Metric metric) {
  switch (metric) {
    case Metric::kKlMean:
      return 1e-6;
    case Metric::kKlP999:
      return 1e-4;
    case Metric::kTop1Agreement:
      return 5e-4;
    case Metric::kDeltaNll:
      return 1e-4;
    case Metric::kBytesPerToken:
    case Metric::kAccuracy:  // its interval leaves the room that few flips need
      return 0;
  }
  return 0;
}

std::string_view OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kSame:
      return "same";
    case Outcome::kWithinTolerance:
      return "within tolerance";
    case Outcome::kExplained:
      return "explained by the interval";
    case Outcome::kBetter:
      return "better";
    case Outcome::kWorse:
      return "worse";
    case Outcome::kOverLimit:
      return "beyond the limit";
    case Outcome::kUnclear:
      return "beyond the limit, perhaps by rounding";
    case Outcome::kNotComparable:
      return "not compared";
  }
  return "";
}

bool Fails(Outcome outcome) { return outcome == Outcome::kWorse || outcome == Outcome::kOverLimit; }

std::vector<MetricVerdict> Judge(const Measurement& before, const Measurement& after,
                                 const VerdictOptions& options) {
  std::vector<MetricVerdict> verdicts;
  for (const Metric metric : MetricsOf(after)) {
    if (metric == Metric::kAccuracy) {
      verdicts.push_back(JudgeAnswers(before, after, options));
      continue;
    }
    MetricVerdict verdict = Begun(before, after, metric, options.limits);
    if (metric == Metric::kKlMean) verdict.allowed += options.rounding;
    if (metric == Metric::kBytesPerToken) {
      const double change = verdict.after - verdict.before;
      verdict.change = {change, change};
    } else {
      verdict.change = ChangeInterval(before, after, metric, options);
    }
    Decide(options.types, verdict);
    verdicts.push_back(verdict);
  }
  return verdicts;
}

MetricVerdict JudgeAnswers(const Measurement& before, const Measurement& after,
                           const VerdictOptions& options) {
  MetricVerdict verdict = Begun(before, after, Metric::kAccuracy, options.limits);
  verdict.flips = CountFlips(before.answers, after.answers);
  verdict.change = CautiousDifferenceInterval(*verdict.flips, options.confidence);
  Decide(options.answers == AnswerReference::kExact ? TypeComparison::kSame : options.types,
         verdict);
  return verdict;
}

std::vector<MetricVerdict> JudgeLimits(const Measurement& after, const Limits& limits) {
  std::vector<MetricVerdict> verdicts;
  for (const Metric metric : MetricsOf(after)) {
    const double value = ValueOf(after, metric);
    MetricVerdict verdict{.metric = metric,
                          .before = value,
                          .after = value,
                          .change = {},
                          .limit = LimitOf(limits, metric)};
    if (Beyond(verdict)) verdict.outcome = Outcome::kOverLimit;
    verdicts.push_back(verdict);
  }
  return verdicts;
}

}  // namespace kvtune
