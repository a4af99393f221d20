#include "apps/kvtune/search_models.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "apps/kvtune/interrupt.h"
#include "apps/kvtune/output.h"
#include "lib/base/log.h"
#include "lib/base/own_program.h"
#include "lib/distributed/ranks.h"
#include "lib/io/checkpoint.h"
#include "lib/report/models_table.h"
#include "lib/report/text_table.h"
#include "lib/run/model_list.h"
#include "lib/run/plan_source.h"
#include "lib/run/stages.h"
#include "lib/run/summary_choice.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// The model that a process was started for.
constexpr char kListedModel[] = "KVTUNE_LISTED_MODEL";

fs::path OutOf(const SearchArguments& arguments) {
  if (!arguments.place.out.empty()) return arguments.place.out;
  return fmt::format("./kvtune-models-{}", arguments.inputs.target);
}

// How a process ended: its exit code, or 128 and the signal, as a shell counts.
int WaitFor(pid_t child) {
  const InterruptForwarding forwarding(child);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string ProblemOf(int exit_code) {
  if (exit_code == static_cast<int>(ExitCode::kOk)) return "";
  if (exit_code == static_cast<int>(ExitCode::kInterrupted)) return "stopped";
  if (exit_code > 128) return fmt::format("ended by signal {}", exit_code - 128);
  return fmt::format("failed, exit code {}", exit_code);
}

ModelRow RowOf(const ListedModel& model, const fs::path& run, int exit_code) {
  ModelRow row{.name = model.name, .recommended = std::nullopt, .problem = ProblemOf(exit_code)};
  if (!row.problem.empty()) return row;
  try {
    const ParetoFront front = ReadFrontByPrompt(run);
    row.exact_bytes_per_token = front.reference.cost.bytes_per_token;
    if (const ScoredPlan* plan = ChooseForSummary(front).recommended) row.recommended = *plan;
  } catch (const Error& error) {
    row.problem = error.what();
  }
  return row;
}

Json JsonOf(const ListedModel& model, const fs::path& run, const ModelRow& row) {
  Json json = {{"name", model.name}, {"model", model.model.string()}, {"run", run.string()}};
  json["recommended"] = row.recommended ? ToJson(*row.recommended) : Json();
  json["problem"] = row.problem.empty() ? Json() : Json(row.problem);
  return json;
}

}  // namespace

ExitCode SearchModels(const SearchArguments& arguments, const Invocation& invocation) {
  if (ReadRanks(ProcessEnvironment()).world > 1) {
    throw Error(
        "kvtune search: found --models in a process that a launcher started as one of many, "
        "expected --devices, or a launcher for each model",
        ExitCode::kUsage);
  }
  const std::vector<ListedModel> models = ReadModelList(arguments.models);
  const fs::path out = OutOf(arguments);
  RequireCreatableDirectory(out);
  std::vector<ModelRow> rows;
  Json results = Json::array();
  size_t failed = 0;
  for (size_t i = 0; i < models.size(); ++i) {
    const fs::path run = out / models[i].name;
    LogInfo(fmt::format("model {} of {}: {}", i + 1, models.size(), models[i].name));
    const int exit_code = WaitFor(StartOwnProgram(
        invocation.command_line, {fmt::format("{}={}", kListedModel, models[i].model.string())},
        ChildOutput::kNone));
    if (InterruptRequested()) {
      LogWarning("stopped; the same command goes on from here");
      return ExitCode::kInterrupted;
    }
    rows.push_back(RowOf(models[i], run, exit_code));
    results.push_back(JsonOf(models[i], run, rows.back()));
    if (rows.back().problem.empty()) continue;
    ++failed;
    LogWarning(fmt::format("{}: {}", models[i].name, rows.back().problem));
  }
  if (invocation.format == OutputFormat::kJson) {
    Json document = NewDocument();
    document["models"] = std::move(results);
    PrintJson(document);
  } else {
    PrintText(ModelsTable(rows, TerminalWidth()));
  }
  if (failed == 0) return ExitCode::kOk;
  LogError(
      fmt::format("searching {} models: found that {} failed, expected none; the same command "
                  "tries them again",
                  models.size(), failed));
  return ExitCode::kError;
}

std::optional<SearchArguments> ArgumentsOfListedModel(const SearchArguments& arguments) {
  const std::optional<std::string> model = ProcessEnvironment()(kListedModel);
  if (!model) return std::nullopt;
  SearchArguments own = arguments;
  own.models.clear();
  own.inputs.model = *model;
  own.place.out = OutOf(arguments) / ModelName(*model);
  return own;
}

}  // namespace kvtune
