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
#include "lib/run/result_file.h"
#include "lib/tasks/task_file.h"

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

// The files that judging a config reads. One that cannot be read is judged later, which says why.
std::vector<fs::path> InputsOf(const fs::path& file) {
  std::vector<fs::path> inputs = {file, DefaultBaselineFile(file)};
  try {
    const GateConfig config = ReadGateConfig(file);
    inputs.insert(inputs.end(), config.prompts.files.begin(), config.prompts.files.end());
    if (config.task) {
      const std::vector<fs::path> of_task = LoadTask(config.task->file).files;
      inputs.insert(inputs.end(), of_task.begin(), of_task.end());
    }
  } catch (const Error&) {
  }
  return inputs;
}

// What the gate reads is in a repository: no report is written over it, nor over the other report.
void RequireReportsApart(const GateArguments& arguments) {
  if (arguments.junit.empty() && arguments.markdown.empty()) return;
  std::vector<fs::path> inputs = {arguments.baseline};
  for (const fs::path& config : arguments.configs) {
    const std::vector<fs::path> of_config = InputsOf(config);
    inputs.insert(inputs.end(), of_config.begin(), of_config.end());
  }
  RequireResultFile(arguments.junit, "--junit", inputs);
  RequireResultFile(arguments.markdown, "--markdown", inputs);
  std::error_code ignored;
  if (fs::weakly_canonical(arguments.junit, ignored) ==
      fs::weakly_canonical(arguments.markdown, ignored)) {
    throw Error(fmt::format("kvtune check: found {} for --junit and for --markdown, expected two "
                            "files",
                            arguments.junit.string()),
                ExitCode::kUsage);
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
