// One function for each command. It does the work and writes the results to stdout. Throws Error.
#pragma once

#include "apps/kvtune/options.h"
#include "lib/base/error.h"

namespace kvtune {

ExitCode RunSearch(const SearchArguments& arguments, const Invocation& invocation);
ExitCode RunCalibrate(const CalibrateArguments& arguments, const Invocation& invocation);
ExitCode RunPrune(const PruneArguments& arguments, const Invocation& invocation);
ExitCode RunCluster(const ClusterArguments& arguments, const Invocation& invocation);
ExitCode RunEvaluate(const EvaluateArguments& arguments, const Invocation& invocation);
ExitCode RunCheck(const GateArguments& arguments, const Invocation& invocation);
ExitCode RunParetoList(const ListArguments& arguments, const Invocation& invocation);
ExitCode RunParetoShow(const FrontArguments& arguments, const Invocation& invocation);
ExitCode RunParetoDiff(const DiffArguments& arguments, const Invocation& invocation);
ExitCode RunParetoPlot(const PlotArguments& arguments, const Invocation& invocation);
ExitCode RunParetoMerge(const MergeArguments& arguments, const Invocation& invocation);
ExitCode RunParetoPick(const PickArguments& arguments, const Invocation& invocation);
ExitCode RunParetoExport(const ExportArguments& arguments, const Invocation& invocation);
ExitCode RunReportPage(const ReportArguments& arguments, const Invocation& invocation);
ExitCode RunInspect(const InspectArguments& arguments, const Invocation& invocation);
ExitCode RunBench(const BenchArguments& arguments, const Invocation& invocation);
ExitCode RunTokenize(const TokenizeArguments& arguments, const Invocation& invocation);
ExitCode RunTargets(const TargetsArguments& arguments, const Invocation& invocation);

}  // namespace kvtune
