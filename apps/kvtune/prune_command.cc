// kvtune prune: the second stage alone.
#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/report/candidates_table.h"
#include "lib/report/text_table.h"
#include "lib/run/stages.h"

namespace kvtune {

ExitCode RunPrune(const PruneArguments& arguments, const Invocation& invocation) {
  RunSession session(arguments.run, invocation.command_line);
  const CandidateSet candidates = PruneStep(session, arguments.prune);
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(candidates));
  } else {
    PrintText(CandidatesText(candidates, TerminalWidth()));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
