// kvtune check: whether served plans still hold.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/kvtune/check_init.h"
#include "apps/kvtune/commands.h"
#include "apps/kvtune/gate_model.h"
#include "apps/kvtune/output.h"
#include "apps/kvtune/plan_argument.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/gate/baseline.h"
#include "lib/gate/gate_config.h"
#include "lib/gate/render.h"
#include "lib/report/text_table.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// A plan's rounding may add to its loss twice: in the exact pass and in its own.
constexpr double kRoundingPasses = 2;

// As the config's folder sees it: files and runs are relative to it, plans that are written out are
// not.
std::string PlanFrom(const std::string& text, const fs::path& folder) {
  std::error_code ignored;
  if (fs::exists(folder / text, ignored)) return (folder / text).string();
  const size_t colon = text.rfind(':');
  const bool names_run = colon != std::string::npos && text.find(';') == std::string::npos;
  const bool names_file =
      text.ends_with(".json") || text.ends_with(".yaml") || text.ends_with(".yml");
  return names_run || names_file ? (folder / text).string() : text;
}

ModelChange ModelChangeOf(const GateArguments& arguments) {
  return arguments.accept_model ? ModelChange::kAccept : ModelChange::kRefuse;
}

// The gates of one call, with every model loaded once.
class Gate {
 public:
  explicit Gate(const GateArguments& arguments) : arguments_(arguments) {}

  // Never throws Error: what cannot be judged is a result too.
  GateResult Run(const fs::path& file) {
    const auto start = std::chrono::steady_clock::now();
    GateResult result;
    result.name = file.string();
    result.file = file.string();
    try {
      const GateConfig config = ReadGateConfig(file);
      const auto [other, is_new] = names_.emplace(config.name, file);
      if (!is_new) {
        throw Error(
            fmt::format("{}: \"name\": found {} in {} too, expected every config to have its own",
                        file.string(), config.name, other->second.string()));
      }
      result.name = config.name;
      JudgeConfig(config, result);
    } catch (const Error& error) {
      result.status = GateStatus::kNotJudged;
      result.metrics.clear();
      result.error = error.what();
      LogError(fmt::format("not judged: {}", result.error));
    }
    result.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
  }

 private:
  void JudgeConfig(const GateConfig& config, GateResult& result) {
    // In the order of cost: what is mistyped is found before weights are read.
    const Target& any_model = FindTarget(config.target);
    GateModel& model = ModelOf(config);
    const Target target = TargetFor(any_model, model.config());
    const PrecisionPlan plan =
        ReadPlanArgument(PlanFrom(config.plan, config.file.parent_path()),
                         static_cast<size_t>(model.config().layer_count()), target);
    RequireModel(config, model, result);
    const PromptSet prompts = model.Prompts(config);
    const fs::path file =
        arguments_.baseline.empty() ? DefaultBaselineFile(config.file) : arguments_.baseline;
    std::optional<Baseline> before;
    if (!arguments_.update_baseline) before = FindBaseline(ReadBaselines(file), config.name, file);

    Provenance run = model.RunOf(config, prompts);
    if (before) {
      RequireComparable(*before, run, ModelChangeOf(arguments_), file);
      RequireLimitsHeld(config, *before);
    }
    model.LearnScales(target, prompts);
    if (!arguments_.cache.empty()) model.UseCache(arguments_.cache, run, prompts);
    const Measurement measured = model.Measure(std::span(&plan, 1), prompts, config).front();
    if (before) {
      Compare(config, *before, run, plan, measured, model, prompts, result);
    } else {
      run.noise_floor = model.NoiseFloor(prompts);
      Update(config, {config.name, run, plan, measured}, file, result);
    }
  }

  // Models by what a runner depends on.
  GateModel& ModelOf(const GateConfig& config) {
    std::error_code ignored;
    const std::string key =
        fs::weakly_canonical(config.model, ignored).string() + "\n" + config.prefill;
    std::unique_ptr<GateModel>& model = models_[key];
    if (!model) model = std::make_unique<GateModel>(config.model, config.prefill, arguments_.model);
    return *model;
  }

  void RequireModel(const GateConfig& config, GateModel& model, GateResult& result) const {
    if (model.hash() == config.model_hash) return;
    if (!arguments_.accept_model) {
      throw Error(fmt::format(
          "{}: \"model_hash\": found {} in {}, expected {} (--accept-model judges the new model)",
          config.file.string(), model.hash(), config.model.string(), config.model_hash));
    }
    result.notes.push_back(
        fmt::format("another model: {}, not {}", model.hash(), config.model_hash));
  }

  void Compare(const GateConfig& config, const Baseline& before, const Provenance& run,
               const PrecisionPlan& plan, const Measurement& measured, GateModel& model,
               const PromptSet& prompts, GateResult& result) const {
    VerdictOptions options{
        .limits = config.limits, .confidence = config.confidence, .seed = arguments_.model.seed};
    options.rounding = kRoundingPasses * *before.run.noise_floor;
    if (run.dtype != before.run.dtype) {
      options.types = TypeComparison::kOther;
      options.rounding =
          kRoundingPasses * std::max(*before.run.noise_floor, model.NoiseFloor(prompts));
      RequireVisible(before, run, options.rounding);
      result.notes.push_back(fmt::format(
          "computed in {}, the baseline in {}: only the mean KL is compared, with {:.2g} "
          "nats of rounding allowed",
          run.dtype, before.run.dtype, options.rounding));
    }
    if (run.version != before.run.version) {
      result.notes.push_back(
          fmt::format("the baseline is of kvtune {}, this is {}", before.run.version, run.version));
    }
    result.metrics = Judge(before.measured, measured, options);
    const auto failed = std::ranges::find_if(
        result.metrics, [](const MetricVerdict& verdict) { return Fails(verdict.outcome); });
    result.status = failed == result.metrics.end() ? GateStatus::kPassed : GateStatus::kFailed;
    if (failed == result.metrics.end()) return RequireClear(before, run, result.metrics);
    const std::vector<Replacement> replacements = ReplacementsOf(plan, before.plan);
    std::vector<PrecisionPlan> plans;
    for (const Replacement& replacement : replacements) plans.push_back(replacement.plan);
    if (plans.empty()) return;
    result.blame = BestExplanation(plan, measured, replacements,
                                   model.Measure(plans, prompts, config), failed->metric);
  }

  static void RequireClear(const Baseline& before, const Provenance& run,
                           std::span<const MetricVerdict> verdicts) {
    for (const MetricVerdict& verdict : verdicts) {
      if (verdict.outcome != Outcome::kUnclear) continue;
      throw Error(
          fmt::format("judging {}: found {} {:.4g} in {} against {:.4g} in the {} baseline, "
                      "expected a limit of "
                      "{:.4g} to hold whatever the rounding (--dtype {} judges it)",
                      before.name, MetricName(verdict.metric), verdict.after, run.dtype,
                      verdict.before, before.run.dtype, *verdict.limit, before.run.dtype));
    }
  }

  // A limit that the accepted plan breaks contradicts the baseline: one of the two is a mistake.
  static void RequireLimitsHeld(const GateConfig& config, const Baseline& before) {
    for (const MetricVerdict& verdict : JudgeLimits(before.measured, config.limits)) {
      if (verdict.outcome != Outcome::kOverLimit) continue;
      throw Error(fmt::format(
          "{}: limits: \"{}\": found {}, but the baseline has {:.6g}, expected a limit that the "
          "baseline holds",
          config.file.string(), MetricName(verdict.metric), *verdict.limit, verdict.after));
    }
  }

  static void RequireVisible(const Baseline& before, const Provenance& run, double rounding) {
    const double loss = ValueOf(before.measured, Metric::kKlMean);
    if (rounding <= loss / 2) return;
    throw Error(fmt::format(
        "judging {}: found {:.2g} nats of rounding in {} against a mean KL of {:.2g} in the {} "
        "baseline, expected at most half of it (--dtype {} judges it)",
        before.name, rounding, run.dtype, loss, before.run.dtype, before.run.dtype));
  }

  void Update(const GateConfig& config, const Baseline& baseline, const fs::path& file,
              GateResult& result) const {
    result.metrics = JudgeLimits(baseline.measured, config.limits);
    for (const MetricVerdict& verdict : result.metrics) {
      if (!Fails(verdict.outcome)) continue;
      result.status = GateStatus::kFailed;
      result.notes.push_back(
          fmt::format("{} is as it was: the plan breaks a limit", file.string()));
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
      for (MetricVerdict& verdict : result.metrics)
        verdict.before = ValueOf(before->measured, verdict.metric);
      for (const std::string& change : ChangesOf(*before, baseline)) result.notes.push_back(change);
    }
    if (baseline.run.model_hash != config.model_hash)
      PinModel(config, baseline.run.model_hash, result);
  }

  // The accepted model becomes the config's.
  static void PinModel(const GateConfig& config, const std::string& hash, GateResult& result) {
    Json json = ReadJsonFile(config.file);
    json["model_hash"] = hash;
    WriteJsonFileAtomically(config.file, json);
    result.notes.push_back(
        fmt::format("{}: model_hash: {} -> {}", config.file.string(), config.model_hash, hash));
  }

  const GateArguments& arguments_;
  std::map<std::string, fs::path> names_;  // of configs, with their files
  std::map<std::string, std::unique_ptr<GateModel>> models_;
};

void CheckUsage(const GateArguments& arguments) {
  const int tasks = (arguments.configs.empty() ? 0 : 1) + (arguments.init.empty() ? 0 : 1) +
                    (arguments.schema ? 1 : 0);
  if (tasks == 1) return;
  throw Error(
      fmt::format(
          "kvtune check: found {}, expected one of --config FILE, --init RUN:NAME and --schema",
          tasks == 0 ? "nothing to do" : "several tasks"),
      ExitCode::kUsage);
}

void Report(std::span<const GateResult> results, const GateArguments& arguments,
            OutputFormat format) {
  if (!arguments.junit.empty()) WriteFileAtomically(arguments.junit, GateJunit(results));
  if (!arguments.markdown.empty()) WriteFileAtomically(arguments.markdown, GateMarkdown(results));
  if (format == OutputFormat::kJson) {
    Json document = NewDocument();
    document.update(ToJson(results));
    PrintJson(document);
    // The runner reads commands from either stream.
    if (arguments.github) std::fputs(GateAnnotations(results).c_str(), stderr);
    return;
  }
  PrintText(GateTable(results, TerminalWidth()));
  if (arguments.github) PrintText(GateAnnotations(results));
}

}  // namespace

ExitCode RunCheck(const GateArguments& arguments, const Invocation& invocation) {
  CheckUsage(arguments);
  if (arguments.schema) {
    PrintJson(GateConfigSchema());
    return ExitCode::kOk;
  }
  if (!arguments.init.empty()) {
    WriteGateConfig(arguments.init, arguments.out);
    LogInfo(fmt::format("wrote {}; next: kvtune check --config {} --update-baseline",
                        arguments.out.string(), arguments.out.string()));
    return ExitCode::kOk;
  }
  Gate gate(arguments);
  std::vector<GateResult> results;
  for (const fs::path& file : arguments.configs) results.push_back(gate.Run(file));
  Report(results, arguments, invocation.format);
  return ExitCodeOf(results);
}

}  // namespace kvtune
