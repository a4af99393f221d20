// kvtune prune: the second stage alone.
#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/report/candidates_table.h"
#include "lib/report/text_table.h"
#include "lib/run/plan_budget.h"
#include "lib/run/search_latency.h"
#include "lib/run/stages.h"

namespace kvtune {
namespace {

// With the times of the pairs, where they count.
PruneOptions OptionsFor(const PruneArguments& arguments, const RunSession& session) {
  PruneOptions prune = arguments.prune;
  if (!arguments.by_time.wanted) return prune;
  const std::filesystem::path file =
      arguments.by_time.file.empty() ? session.directory().latency() : arguments.by_time.file;
  prune.latency = LatencyForSearch(ReadLatencyTable(file), arguments.by_time.setting,
                                   ModelOfLayers(session.run().layers),
                                   ReadSensitivity(session).pairs, file.string());
  return prune;
}

}  // namespace

ExitCode RunPrune(const PruneArguments& arguments, const Invocation& invocation) {
  RunSession session(arguments.run, invocation.command_line);
  const CandidateSet candidates = PruneStep(session, OptionsFor(arguments, session));
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(candidates));
  } else {
    PrintText(CandidatesText(candidates, TerminalWidth()));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
