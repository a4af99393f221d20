#include "lib/gate/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/progress.h"
#include "lib/gate/blame.h"
#include "lib/gate/verdict.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// A plan's rounding may add to its loss twice: in the exact pass and in its own.
constexpr double kRoundingPasses = 2;

// A loss that is not a number compares as neither better nor worse: it must not pass.
void RequireFiniteLoss(const PromptScore& score, size_t prompt) {
  const double delta_nll = score.nll_sum - score.exact_nll_sum;
  if (std::isfinite(score.kl_sum) && std::isfinite(delta_nll)) return;
  throw Error(
      fmt::format("scoring prompt {}: found a KL of {} and a change of nll of {}, expected "
                  "finite numbers",
                  prompt, score.kl_sum, delta_nll));
}

// A limit that the accepted plan breaks contradicts the baseline: one of the two is a mistake.
void RequireLimitsHeld(const GateConfig& config, const Baseline& before) {
  for (const MetricVerdict& verdict : JudgeLimits(before.measured, config.limits)) {
    if (verdict.outcome != Outcome::kOverLimit) continue;
    throw Error(fmt::format(
        "{}: limits: \"{}\": found {}, but the baseline has {:.6g}, expected a limit that the "
        "baseline holds",
        config.file.string(), MetricName(verdict.metric), *verdict.limit, verdict.after));
  }
}

// Rounding that is as large as the loss would hide any change of it.
void RequireVisible(const Baseline& before, const Provenance& run, double rounding) {
  const double loss = ValueOf(before.measured, Metric::kKlMean);
  if (rounding <= loss / 2) return;
  throw Error(fmt::format(
      "judging {}: found {:.2g} nats of rounding in {} against a mean KL of {:.2g} in the {} "
      "baseline, expected at most half of it (--dtype {} judges it)",
      before.name, rounding, run.dtype, loss, before.run.dtype, before.run.dtype));
}

void RequireClear(const Baseline& before, const Provenance& run,
                  std::span<const MetricVerdict> verdicts) {
  for (const MetricVerdict& verdict : verdicts) {
    if (verdict.outcome != Outcome::kUnclear) continue;
    throw Error(fmt::format(
        "judging {}: found {} {:.4g} in {} against {:.4g} in the {} baseline, expected a limit of "
        "{:.4g} to hold whatever the rounding (--dtype {} judges it)",
        before.name, MetricName(verdict.metric), verdict.after, run.dtype, verdict.before,
        before.run.dtype, *verdict.limit, before.run.dtype));
  }
}

// A gate whose task could not fail if every answer were lost is no gate.
void RequireEnoughItems(const GateConfig& config, const TaskItems& items) {
  const auto fewest = static_cast<size_t>(FewestItems(config.confidence));
  if (items.count >= fewest) return;
  throw Error(fmt::format(
      "{}: \"task\": found {} items, expected at least {}: on fewer not even the loss of every "
      "answer would be certain at a confidence of {}",
      config.file.string(), items.count, fewest, config.confidence));
}

// Only answers that the reference has right can be lost. A limit of the accuracy and the losses on
// prompts judge all the same, so that this is said and not refused.
void NoteFewRight(const GateConfig& config, const std::vector<char>& reference,
                  GateResult& result) {
  if (reference.empty()) return;
  const int64_t right = std::ranges::count_if(reference, [](char answer) { return answer != 0; });
  const int64_t fewest = FewestItems(config.confidence);
  if (right >= fewest) return;
  result.notes.push_back(
      fmt::format("{} right answers can be lost, and at a confidence of {} not even the loss of "
                  "all would fail: that takes {}",
                  right, config.confidence, fewest));
}

void NoteFlips(const GateConfig& config, GateResult& result) {
  for (const MetricVerdict& verdict : result.metrics) {
    if (!verdict.flips) continue;
    result.notes.push_back(fmt::format(
        "answers against {}: {}",
        config.task->against == AnswerReference::kExact ? "the exact cache" : "the baseline",
        FlipsText(*verdict.flips)));
  }
}

// The accepted model becomes the config's.
void PinModel(const GateConfig& config, const std::string& hash, GateResult& result) {
  Json json = ReadJsonFile(config.file);
  json["model_hash"] = hash;
  WriteOutputFile(config.file, DumpJson(json));
  result.notes.push_back(
      fmt::format("{}: model_hash: {} -> {}", config.file.string(), config.model_hash, hash));
}

// `exact_answers` are empty where the config does not compare with them.
void Update(const GateConfig& config, const Baseline& baseline, std::vector<char> exact_answers,
            const fs::path& file, GateResult& result) {
  result.metrics = JudgeLimits(baseline.measured, config.limits);
  if (!exact_answers.empty()) {
    Measurement exact = baseline.measured;
    exact.answers = std::move(exact_answers);
    result.metrics.back() = JudgeAnswers(exact, baseline.measured,
                                         {.limits = config.limits,
                                          .confidence = config.confidence,
                                          .answers = AnswerReference::kExact});
    NoteFlips(config, result);
  }
  for (const MetricVerdict& verdict : result.metrics) {
    if (!Fails(verdict.outcome)) continue;
    result.status = GateStatus::kFailed;
    result.notes.push_back(fmt::format("{} is as it was: the plan breaks a limit", file.string()));
    return;
  }
  result.status = GateStatus::kPassed;
  std::optional<Baseline> before;
  if (fs::exists(file)) {
    for (const Baseline& known : ReadBaselines(file)) {
      if (known.name == config.name) before = known;
    }
  }
  WriteBaseline(file, baseline);
  result.notes.push_back(
      fmt::format("{} {}", before ? "updated" : "new baseline in", file.string()));
  if (before) {
    for (MetricVerdict& verdict : result.metrics) {
      const bool is_measured =
          verdict.metric != Metric::kAccuracy || !before->measured.answers.empty();
      if (is_measured && !verdict.flips) verdict.before = ValueOf(before->measured, verdict.metric);
    }
    for (const std::string& change : ChangesOf(*before, baseline)) result.notes.push_back(change);
  }
  if (baseline.run.model_hash != config.model_hash) {
    PinModel(config, baseline.run.model_hash, result);
  }
}

}  // namespace

std::vector<Measurement> MeasurePlans(MeasuredModel& model, std::span<const PrecisionPlan> plans,
                                      const PromptSet& prompts, const CostFunction& cost) {
  Progress progress(fmt::format("scoring {} plans", plans.size()),
                    static_cast<int64_t>(prompts.prompts.size()), "prompts");
  std::vector<std::vector<PromptScore>> scores =
      model.ScorePlans(plans, prompts.prompts, [&](int64_t count) { progress.Advance(count); });
  progress.Dismiss();
  std::vector<Measurement> measurements;
  for (size_t i = 0; i < plans.size(); ++i) {
    std::vector<int64_t> tokens;
    for (const PromptScore& score : scores[i]) tokens.push_back(score.tokens);
    const size_t tail = TailLength(tokens);
    Measurement measured{.bytes_per_token = cost(plans[i]).bytes_per_token, .prompts = {}};
    for (size_t p = 0; p < scores[i].size(); ++p) {
      RequireFiniteLoss(scores[i][p], p);
      measured.prompts.push_back(WithTailOnly(std::move(scores[i][p]), tail));
    }
    measurements.push_back(std::move(measured));
  }
  return measurements;
}

GateResult Gate::Run(const fs::path& config_file) {
  const auto start = std::chrono::steady_clock::now();
  GateResult result;
  result.name = config_file.string();
  result.file = config_file.string();
  const auto not_judged = [&result](const std::string& error) {
    result.status = GateStatus::kNotJudged;
    result.metrics.clear();
    result.error = error;
    LogError(fmt::format("not judged: {}", result.error));
  };
  try {
    const GateConfig config = ReadGateConfig(config_file);
    const auto [other, is_new] = names_.emplace(config.name, config_file);
    if (!is_new) {
      throw Error(
          fmt::format("{}: \"name\": found {} in {} too, expected every config to have its own",
                      config_file.string(), config.name, other->second.string()));
    }
    result.name = config.name;
    JudgeConfig(config, result);
  } catch (const Error& error) {
    not_judged(error.what());
  } catch (const fs::filesystem_error& error) {  // a name that is too long, a loop of links
    not_judged(fmt::format("{}: {}", error.path1().string(), error.code().message()));
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

// In the order of cost: what is mistyped is found before weights are read.
void Gate::JudgeConfig(const GateConfig& config, GateResult& result) {
  const PrecisionPlan plan = models_.PlanOf(config);
  RequireModel(config, models_.HashOf(config), result);
  const PromptSet prompts = models_.PromptsOf(config);
  const fs::path file =
      options_.baseline.empty() ? DefaultBaselineFile(config.file) : options_.baseline;
  std::optional<Baseline> before;
  if (options_.use == BaselineUse::kCompare) {
    before = FindBaseline(ReadBaselines(file), config.name, file);
  }
  TaskItems items;
  if (config.task) {
    items = models_.TaskOf(config, prompts);
    RequireEnoughItems(config, items);
  }
  Baseline now{config.name, models_.RunOf(config, prompts), plan, {}, items.hash};
  if (before) {
    RequireComparable(*before, now.run, options_.model_change, file);
    RequireSameTask(*before, items.hash, items.count, file);
    RequireLimitsHeld(config, *before);
  }
  MeasuredModel& model = models_.ModelOf(config, prompts);
  now.measured = MeasurePlans(model, std::span(&plan, 1), prompts, models_.CostFor(config)).front();
  std::vector<char> exact_answers = AnswerTask(config, now);
  if (before) {
    RequireSameCounts(*before, now.measured, file);
    models_.RequireUnchanged(config);
    if (!exact_answers.empty()) before->measured.answers = std::move(exact_answers);
    NoteFewRight(config, before->measured.answers, result);
    return Compare(config, *before, now, model, prompts, result);
  }
  now.run.noise_floor = models_.NoiseFloorOf(config, prompts);
  models_.RequireUnchanged(config);
  NoteFewRight(config, exact_answers.empty() ? now.measured.answers : exact_answers, result);
  Update(config, now, std::move(exact_answers), file, result);
}

// Lets the model answer the config's task, if it names one. Returns the answers with an exact cache
// where the config compares with those.
std::vector<char> Gate::AnswerTask(const GateConfig& config, Baseline& now) {
  if (!config.task) return {};
  std::vector<PrecisionPlan> plans = {now.plan};
  if (config.task->against == AnswerReference::kExact) {
    plans.push_back(PrecisionPlan::Uniform(kExactPair, now.plan.layers.size()));
  }
  std::vector<std::vector<char>> answers = models_.AnswersOf(config, plans);
  now.measured.answers = std::move(answers.front());
  return plans.size() > 1 ? std::move(answers.back()) : std::vector<char>();
}

void Gate::RequireModel(const GateConfig& config, const std::string& hash,
                        GateResult& result) const {
  if (hash == config.model_hash) return;
  if (options_.model_change == ModelChange::kRefuse) {
    throw Error(fmt::format(
        "{}: \"model_hash\": found {} in {}, expected {} (--accept-model judges the new model)",
        config.file.string(), hash, config.model.string(), config.model_hash));
  }
  result.notes.push_back(fmt::format("another model: {}, not {}", hash, config.model_hash));
}

void Gate::Compare(const GateConfig& config, const Baseline& before, const Baseline& after,
                   MeasuredModel& model, const PromptSet& prompts, GateResult& result) {
  VerdictOptions options{
      .limits = config.limits, .confidence = config.confidence, .seed = options_.seed};
  if (config.task) options.answers = config.task->against;
  options.rounding = kRoundingPasses * *before.run.noise_floor;
  if (after.run.dtype != before.run.dtype) {
    options.types = TypeComparison::kOther;
    options.rounding =
        kRoundingPasses * std::max(*before.run.noise_floor, models_.NoiseFloorOf(config, prompts));
    RequireVisible(before, after.run, options.rounding);
    result.notes.push_back(
        fmt::format("computed in {}, the baseline in {}: only the mean KL is compared, with {:.2g} "
                    "nats of rounding allowed",
                    after.run.dtype, before.run.dtype, options.rounding));
  }
  if (after.run.version != before.run.version) {
    result.notes.push_back(fmt::format("the baseline is of kvtune {}, this is {}",
                                       before.run.version, after.run.version));
  }
  result.metrics = Judge(before.measured, after.measured, options);
  NoteFlips(config, result);
  const auto failed = std::ranges::find_if(
      result.metrics, [](const MetricVerdict& verdict) { return Fails(verdict.outcome); });
  result.status = failed == result.metrics.end() ? GateStatus::kPassed : GateStatus::kFailed;
  if (failed == result.metrics.end()) return RequireClear(before, after.run, result.metrics);
  // Answers flip too rarely to tell layers apart, so a lost accuracy is explained by the losses.
  const Metric explained = failed->metric == Metric::kAccuracy ? Metric::kKlMean : failed->metric;
  BlameLayer(config, before, after, explained, model, prompts, result);
}

// That the plan is worse is known by now, and stays so when no layer can be named.
void Gate::BlameLayer(const GateConfig& config, const Baseline& before, const Baseline& after,
                      Metric metric, MeasuredModel& model, const PromptSet& prompts,
                      GateResult& result) {
  const std::vector<Replacement> replacements = ReplacementsOf(after.plan, before.plan);
  std::vector<PrecisionPlan> plans;
  for (const Replacement& replacement : replacements) plans.push_back(replacement.plan);
  if (plans.empty()) return;
  try {
    result.blame =
        BestExplanation(after.plan, after.measured, replacements,
                        MeasurePlans(model, plans, prompts, models_.CostFor(config)), metric);
  } catch (const Error& error) {
    result.notes.push_back(fmt::format("no layer is named: {}", error.what()));
  }
}

}  // namespace kvtune
