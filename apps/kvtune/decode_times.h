// Times of decode steps on this machine's device, for `kvtune bench` and for a search by time.
#pragma once

#include <filesystem>
#include <string>

#include "apps/kvtune/options.h"
#include "lib/core/decode_timer.h"
#include "lib/core/latency_table.h"
#include "lib/io/model_directory.h"
#include "lib/run/decode_bench.h"

namespace kvtune {

// The batch and the context that are timed where the command line does not say it: what a server
// does on a GPU, and what takes seconds on a CPU.
DecodeSetting UsualSetting(const std::string& device);

// Times everything, with a line of progress on stderr.
LatencyTable MeasureWithProgress(const DecodeBench& bench, const DescribedModel& model,
                                 DecodeTimer& timer);

// The table that a search by time reads: the given file, that of the run directory, or, where there
// is neither, one that is measured now.
struct TableForSearch {
  LatencyTable table;
  std::filesystem::path file;  // that it is in, or belongs into
  bool is_measured = false;    // and not in its file yet
};
TableForSearch TableOf(const SearchArguments& arguments, const DescribedModel& model,
                       const std::vector<PrecisionPair>& pairs, const std::filesystem::path& run);

}  // namespace kvtune
