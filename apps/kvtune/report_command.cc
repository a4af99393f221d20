// kvtune report: a run as one HTML page.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/core/artifacts.h"
#include "lib/report/html_report.h"
#include "lib/run/result_file.h"
#include "lib/run/run_report.h"

namespace kvtune {

namespace fs = std::filesystem;

ExitCode RunReportPage(const ReportArguments& arguments, const Invocation& invocation) {
  const RunDirectory directory(arguments.run);
  const fs::path out = arguments.out.empty() ? directory.report() : arguments.out;
  directory.RequireOutside(out, "kvtune report");
  RequireResultFile(out, "--out", invocation.options_files);
  const RunReport report = ReadRunReport(arguments.run);
  for (const MissingPart& part : report.missing) LogWarning(part.what);
  WriteFileAtomically(out, HtmlReport(report));
  LogInfo(fmt::format("wrote {}", out.string()));
  if (invocation.format == OutputFormat::kJson) {
    Json document = NewDocument();
    document["out"] = out.string();
    document["missing"] = Json::array();
    for (const MissingPart& part : report.missing) document["missing"].push_back(part.what);
    PrintJson(document);
  } else {
    PrintText(out.string() + "\n");
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
