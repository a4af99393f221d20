// kvtune check: whether served plans still hold.
#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/open_model.h"
#include "apps/kvtune/output.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/gate/gate.h"
#include "lib/gate/gate_config.h"
#include "lib/gate/new_config.h"
#include "lib/gate/render.h"
#include "lib/report/text_table.h"
#include "lib/run/gate_models.h"
#include "lib/run/plan_source.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

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

// What the gate reads is in a repository: no report is written over it.
void RequireReportsApart(const GateArguments& arguments) {
  const auto require_apart = [](const fs::path& report, const fs::path& read) {
    std::error_code ignored;
    if (!fs::equivalent(report, read, ignored)) return;
    throw Error(fmt::format("kvtune check: found the report {} over {}, expected another file",
                            report.string(), read.string()),
                ExitCode::kUsage);
  };
  for (const fs::path& report : {arguments.junit, arguments.markdown}) {
    if (!report.empty()) RequireOutputFile(report);
    require_apart(report, arguments.baseline);
    for (const fs::path& config : arguments.configs) {
      require_apart(report, config);
      require_apart(report, DefaultBaselineFile(config));
    }
  }
}

std::optional<GateTask> TaskOf(const TaskOptions& task) {
  if (task.file.empty()) return std::nullopt;
  return GateTask{.file = task.file,
                  .overrides = task.overrides,
                  .apply_chat_template = task.apply_chat_template};
}

// Writes a config for the plan RUN:NAME to a new file.
void WriteNewConfig(const std::string& run_and_name, const fs::path& out,
                    const std::optional<GateTask>& task) {
  const size_t colon = run_and_name.rfind(':');
  if (colon == std::string::npos || out.empty()) {
    throw Error(fmt::format("kvtune check --init: found \"{}\"{}, expected RUN:NAME and --out FILE",
                            run_and_name, out.empty() ? " without --out" : ""),
                ExitCode::kUsage);
  }
  if (fs::exists(out)) {
    throw Error(fmt::format("writing the config {}: found it there already, expected a new file",
                            out.string()));
  }
  const fs::path folder = run_and_name.substr(0, colon);
  const ParetoFront front = ReadFront(folder);
  const std::string name = run_and_name.substr(colon + 1);
  const ScoredPlan& plan = RequirePlan(front, name, folder);
  if (!fs::exists(front.run.model)) {
    throw Error(
        fmt::format("writing the config {}: found no model {}, expected it where the run was made",
                    out.string(), front.run.model));
  }
  const Target& target = FindTarget(front.run.target);
  WriteOutputFile(out, DumpJson(ToJson(NewGateConfig(front, plan, target.shape.pairs, out, task))));
  LogInfo(fmt::format("wrote {}; next: kvtune check --config {} --update-baseline", out.string(),
                      out.string()));
}

GateOptions OptionsOf(const GateArguments& arguments) {
  return {.baseline = arguments.baseline,
          .use = arguments.update_baseline ? BaselineUse::kUpdate : BaselineUse::kCompare,
          .model_change = arguments.accept_model ? ModelChange::kAccept : ModelChange::kRefuse,
          .seed = arguments.seed};
}

void Print(std::span<const GateResult> results, const GateArguments& arguments,
           OutputFormat format) {
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

// Says what cannot be done and goes on: a report that is lost must not take the verdict with it.
bool Succeeds(const std::function<void()>& report) {
  try {
    report();
    return true;
  } catch (const Error& error) {
    LogError(error.what());
    return false;
  }
}

// The verdict's exit code; kError where all passed but a report is lost.
ExitCode Report(std::span<const GateResult> results, const GateArguments& arguments,
                OutputFormat format) {
  bool complete = Succeeds([&] { Print(results, arguments, format); });
  const auto write = [&](const fs::path& file, std::string (*render)(std::span<const GateResult>)) {
    if (file.empty()) return;
    complete = Succeeds([&] { WriteOutputFile(file, render(results)); }) && complete;
  };
  write(arguments.junit, GateJunit);
  write(arguments.markdown, GateMarkdown);
  const ExitCode verdict = ExitCodeOf(results);
  return verdict == ExitCode::kOk && !complete ? ExitCode::kError : verdict;
}

}  // namespace

ExitCode RunCheck(const GateArguments& arguments, const Invocation& invocation) {
  CheckUsage(arguments);
  if (arguments.schema) {
    PrintJson(GateConfigSchema());
    return ExitCode::kOk;
  }
  if (!arguments.init.empty()) {
    WriteNewConfig(arguments.init, arguments.out, TaskOf(arguments.task));
    return ExitCode::kOk;
  }
  RequireReportsApart(arguments);
  OpenedGateModels models(arguments.where, arguments.cache, RunnerLoader());
  Gate gate(models, OptionsOf(arguments));
  std::vector<GateResult> results;
  for (const fs::path& file : arguments.configs) results.push_back(gate.Run(file));
  return Report(results, arguments, invocation.format);
}

}  // namespace kvtune
