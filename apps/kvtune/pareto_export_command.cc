// kvtune pareto export: a plan of a run, written for a serving engine.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/core/artifacts.h"
#include "lib/core/cache_maxima.h"
#include "lib/core/objective.h"
#include "lib/core/sensitivity.h"
#include "lib/io/safetensors_writer.h"
#include "lib/run/evaluation_log.h"
#include "lib/run/plan_source.h"
#include "lib/run/result_file.h"
#include "lib/targets/export_use.h"
#include "lib/targets/kernels.h"
#include "lib/targets/target.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// The loss of a plan on the calibration prompts; nullopt when the run has not scored it on all of
// them.
std::optional<double> MeasuredLoss(const PrecisionPlan& plan, const ParetoFront& front,
                                   const fs::path& run) {
  const auto is_it = [&](const auto& scored) { return scored.plan == plan; };
  for (const std::vector<ScoredPlan>* plans : {&front.plans, &front.uniform, &front.near}) {
    const auto found = std::ranges::find_if(*plans, is_it);
    if (found != plans->end()) return LossOf(found->calibration);
  }
  if (plan.is_exact()) return LossOf(front.reference.calibration);
  const LogContent log = ReadEvaluationLog(RunDirectory(run).evaluations(), plan.layers.size());
  const auto found = std::ranges::find_if(log.evaluations, is_it);
  if (found == log.evaluations.end() || !found->score.complete()) return std::nullopt;
  return LossOf(found->score);
}

// "KV8, which loses 0.0012 nats per token", or how to find that out.
std::string Described(const PrecisionPlan& plan, const ParetoFront& front, const fs::path& run) {
  const std::string spec = PlanSpec(plan);
  if (const std::optional<double> loss = MeasuredLoss(plan, front, run)) {
    return fmt::format("{}, which loses {:.3g} {}", spec, *loss, Describe().unit);
  }
  return fmt::format(
      "{}, not measured in this run (kvtune evaluate --model {} --target {} --plan \"{}\")", spec,
      front.run.model, front.run.target, spec);
}

// The plan itself where the format can express it.
ScoredPlan Expressible(const ScoredPlan& plan, const ParetoFront& front,
                       const ExportArguments& arguments) {
  const Target target = TargetFor(FindTarget(front.run.target), front.run.layers);
  const std::optional<Misfit> misfit = FindMisfit(plan.plan, target, arguments.format);
  if (!misfit) return plan;
  const std::string nearest = Described(misfit->nearest, front, arguments.run);
  if (!arguments.project) {
    throw Error(
        fmt::format("exporting {} as {}: {}; the nearest plan that it can express (--project): {}",
                    plan.name, arguments.format, misfit->reason, nearest));
  }
  LogWarning(fmt::format("{} cannot express {} ({}); exported is {}", arguments.format, plan.name,
                         misfit->reason, nearest));
  ScoredPlan projected;
  projected.name = plan.name + "-projected";
  projected.plan = misfit->nearest;
  return projected;
}

// k_scale and v_scale of the layers whose formats have calibrated ones, by the names of a
// checkpoint's modules (as ModelOpt writes and vLLM reads them).
std::vector<Float32Tensor> ScaleTensors(const PrecisionPlan& plan, const fs::path& run,
                                        const std::string& module_prefix) {
  const auto is_calibrated = [](KvFormatId id) {
    return FormatOf(id).scale == ScaleKind::kCalibrated;
  };
  std::vector<Float32Tensor> scales;
  std::optional<SensitivityTable> table;
  for (size_t layer = 0; layer < plan.layers.size(); ++layer) {
    const auto [key, value] = plan.layers[layer];
    if (!is_calibrated(key) && !is_calibrated(value)) continue;
    const fs::path file = RunDirectory(run).sensitivity();
    if (!table)
      table = SensitivityTableFromJson(ReadArtifact(file, Artifact::kSensitivity), file.string());
    const LayerMaxima& maxima = table->layers.at(layer).maxima;
    const auto add = [&](KvFormatId id, KvSide side, const char* name) {
      if (!is_calibrated(id)) return;
      scales.push_back({fmt::format("{}layers.{}.self_attn.{}", module_prefix, layer, name),
                        {},
                        {CalibratedScales(FormatOf(id), maxima.side(side)).front()}});
    };
    add(key, KvSide::kKey, "k_proj.k_scale");
    add(value, KvSide::kValue, "v_proj.v_scale");
  }
  return scales;
}

// Scales that are written beside the plan: none where it needs none or the checkpoint has its own.
struct ScaleFile {
  fs::path path;  // empty where nothing is written
  std::vector<Float32Tensor> scales;
};

// Throws Error where the file would take the place of the plan's or of anything but scales.
ScaleFile ScalesOf(const PrecisionPlan& plan, const Provenance& run,
                   const ExportArguments& arguments, std::span<const fs::path> options_files) {
  if (run.scales == CacheScales::kCheckpoint) return {};
  ScaleFile file{.path = {}, .scales = ScaleTensors(plan, arguments.run, run.module_prefix)};
  if (file.scales.empty() || arguments.out.empty()) return file;
  file.path = fs::path(arguments.out).replace_extension(".safetensors");
  if (file.path == arguments.out) {
    throw Error(fmt::format("kvtune pareto export: found --out {}, expected another ending for the "
                            "plan: its calibrated scales get this one",
                            arguments.out.string()),
                ExitCode::kUsage);
  }
  RequireResultFile(file.path, "the scales beside --out:", options_files);
  return file;
}

void WriteScales(const ScaleFile& file) {
  if (file.scales.empty()) return;
  if (file.path.empty()) {
    return LogWarning(
        "the plan needs calibrated scales; --out FILE writes them beside it, as .safetensors");
  }
  WriteSafetensors(file.path, file.scales);
  LogInfo(fmt::format("wrote {} ({} scales)", file.path.string(), file.scales.size()));
}

// On stderr, because stdout is the plan itself.
void ExplainUse(const ExportUse& use) {
  for (const std::string& command : use.commands) LogInfo("use: " + command);
  for (const EngineNeed& need : use.needs)
    LogInfo(fmt::format("needs: {} ({})", need.text, need.source));
  if (!use.scales.empty()) LogInfo(use.scales);
}

Json ToJson(const ExportUse& use) {
  Json needs = Json::array();
  for (const EngineNeed& need : use.needs)
    needs.push_back({{"text", need.text}, {"source", need.source}});
  return {{"commands", use.commands},
          {"needs", std::move(needs)},
          {"scales", use.scales.empty() ? Json(nullptr) : Json(use.scales)}};
}

}  // namespace

ExitCode RunParetoExport(const ExportArguments& asked, const Invocation& invocation) {
  RunDirectory(asked.run).RequireOutside(asked.out, "kvtune pareto export");
  RequireResultFile(asked.out, "--out", invocation.options_files);
  const ParetoFront front = ReadFront(asked.run);
  ExportArguments arguments = asked;
  if (arguments.format.empty())
    arguments.format = FindTarget(front.run.target).exports.front().name;
  const ScoredPlan plan =
      Expressible(RequirePlan(front, arguments.plan, arguments.run), front, arguments);
  const std::string exported = ExportPlan(plan, front, arguments.format);
  const ScaleFile scale_file = ScalesOf(plan.plan, front.run, arguments, invocation.options_files);
  const fs::path& scales = scale_file.path;
  if (!arguments.out.empty()) {
    WriteOutputFile(arguments.out, exported);
    LogInfo(fmt::format("wrote {} ({})", arguments.out.string(), PlanSpec(plan.plan)));
  }
  WriteScales(scale_file);
  const std::string kernels = KernelSentence(std::span(&plan, 1), FindTarget(front.run.target));
  if (!kernels.empty()) LogWarning(kernels.substr(0, kernels.size() - 2));
  const ExportUse use = UseOf(
      plan, front.run, arguments.format,
      {.content = exported, .plan_file = arguments.out.string(), .scales_file = scales.string()});
  ExplainUse(use);
  if (invocation.format == OutputFormat::kJson) {
    Json document = NewDocument();
    document["plan"] = plan.name;
    document["spec"] = PlanSpec(plan.plan);
    document["format"] = arguments.format;
    document["out"] = arguments.out.empty() ? Json(nullptr) : Json(arguments.out.string());
    document["scales"] = scales.empty() ? Json(nullptr) : Json(scales.string());
    document["content"] = exported;
    document["use"] = ToJson(use);
    PrintJson(document);
  } else if (arguments.out.empty()) {
    PrintExact(exported);
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
