// kvtune calibrate: the first stage alone.
#include <nlohmann/json.hpp>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/open_model.h"
#include "apps/kvtune/output.h"
#include "lib/base/bar.h"
#include "lib/report/candidates_table.h"
#include "lib/report/diagnosis_text.h"
#include "lib/report/sensitivity_chart.h"
#include "lib/report/text_table.h"
#include "lib/run/stages.h"

namespace kvtune {

ExitCode RunCalibrate(const CalibrateArguments& arguments, const Invocation& invocation) {
  const auto other_devices = StartDevices(arguments.inputs, invocation);
  if (ServesAnotherProcess(arguments.inputs)) return ExitCode::kOk;
  const std::filesystem::path out = RunDirectoryOf(arguments.place, arguments.inputs);
  RequireCreatableDirectory(out);
  RequireOwnDirectory(out, InputPathsOf(arguments.inputs, arguments.place));
  ModelSession model(arguments.inputs, arguments.place.held_out, SharedRunnerLoader());
  RunSession session(out, model.run(), invocation.command_line);
  session.RequireSameOptions(Stage::kCalibrate, OptionsOf(arguments.calibrate));
  const SensitivityTable table = CalibrateStep(session, model, arguments.calibrate);
  const Diagnosis diagnosis = DiagnoseStep(session, table);
  if (invocation.format == OutputFormat::kJson) {
    Json document = ToJson(table);
    document["diagnosis"] = ToJson(diagnosis);
    PrintJson(document);
  } else {
    const size_t width = TerminalWidth();
    const std::string errors = arguments.table
                                   ? SensitivityText(table, width)
                                   : SensitivityChart(table, diagnosis, width, ShowsUnicode());
    PrintText(errors + "\n" + DiagnosisText(diagnosis, width));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
