// kvtune cluster: the third stage alone.
#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/report/candidates_table.h"
#include "lib/report/text_table.h"
#include "lib/run/stages.h"

namespace kvtune {

ExitCode RunCluster(const ClusterArguments& arguments, const Invocation& invocation) {
  RunSession session(arguments.run, invocation.command_line);
  const LayerGroups groups = ClusterStep(session, arguments.cluster);
  if (invocation.format == OutputFormat::kJson) {
    PrintJson(ToJson(groups));
  } else {
    PrintText(GroupsText(groups, TerminalWidth()));
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
