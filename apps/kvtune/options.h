// The arguments of every command, as they come from the command line. Their form is checked, but
// not yet whether they make sense.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lib/calib/calibrate.h"
#include "lib/core/memory_budget.h"
#include "lib/run/inspection.h"
#include "lib/run/prepared_task.h"
#include "lib/run/run_options.h"
#include "search/cluster.h"
#include "search/pick.h"
#include "search/prune.h"

namespace kvtune {

enum class OutputFormat { kText, kJson };

// How the program was called.
struct Invocation {
  std::vector<std::string> command_line;
  OutputFormat format = OutputFormat::kText;
  std::vector<std::filesystem::path> options_files = {};  // of --config, where it is given
};

struct CalibrateArguments {
  RunInputs inputs;
  RunPlace place;
  CalibrateOptions calibrate;
  bool table = false;  // every error is printed
};

struct PruneArguments {
  std::filesystem::path run;
  PruneOptions prune;
  LatencyOptions by_time;
};

struct ClusterArguments {
  std::filesystem::path run;
  ClusterOptions cluster;
};

struct SearchArguments {
  RunInputs inputs;
  std::vector<std::filesystem::path> models;  // with --models, in place of inputs.model
  RunPlace place;
  CalibrateOptions calibrate;
  PruneOptions prune;
  ClusterOptions cluster;
  SearchStepOptions search;
  MemoryOptions memory;
  TaskOptions task;  // its file is empty where there is none
};

enum class UniformPlans { kNone, kAll };

struct EvaluateArguments {
  RunInputs inputs;
  std::vector<std::string> plans;
  UniformPlans uniform = UniformPlans::kNone;
  std::filesystem::path front;  // a run whose front's plans are evaluated; empty: none
  bool read_stdin = false;
  std::filesystem::path known_scores;  // empty: none
  TaskOptions task;
  std::filesystem::path samples;  // empty: none
};

struct GateArguments {
  TaskOptions task;    // of a new config; its file is empty where there is none
  ModelOptions where;  // what the configs do not say: device, data type and threads
  uint64_t seed = 0;
  std::vector<std::filesystem::path> configs;
  std::filesystem::path baseline;  // empty: each config's own
  bool update_baseline = false;
  bool accept_model = false;
  std::filesystem::path cache;  // empty: none
  std::filesystem::path junit;
  std::filesystem::path markdown;
  bool github = false;
  bool schema = false;
  std::string init;  // RUN:NAME
  std::filesystem::path out;
};

struct ListArguments {
  std::filesystem::path run;
  bool all = false;  // every plan, in place of the summary
};

struct DiffArguments {
  std::filesystem::path run;
  std::string a, b;
};

struct FrontArguments {
  std::filesystem::path run;
  std::string plan;  // the plan that `pareto show` prints
};

struct PlotArguments {
  std::filesystem::path run;
  bool ascii = false;
  bool time = false;
};

struct MergeArguments {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path out;
};

struct PickArguments {
  std::filesystem::path run;
  PickConstraints constraints;
  MemoryOptions memory;
  std::optional<int64_t> context;  // of the memory budget; nullopt: that of the run
};

struct ExportArguments {
  std::filesystem::path run;
  std::string plan;
  std::string format;
  std::filesystem::path out;  // empty: stdout
  bool project = false;       // take the nearest plan that the format can express
};

struct ReportArguments {
  std::filesystem::path run;
  std::filesystem::path out;  // empty: report.html of the run
};

struct InspectArguments {
  InspectOptions inspect;
  std::string device;  // empty: nothing is said of this machine
};

struct BenchArguments {
  std::filesystem::path model;
  std::string target = RunInputs{}.target;
  std::vector<std::string> plans;
  std::vector<int64_t> batches;   // empty: one that suits the device
  std::vector<int64_t> contexts;  // likewise
  std::string device = ModelOptions{}.device;
  bool synthetic = false;
  bool attention_only = false;
  std::filesystem::path out;  // empty: none
};

struct TokenizeArguments {
  std::filesystem::path model;
  std::filesystem::path file;  // empty: stdin
  bool jsonl = false;
  bool no_special = false;
};

struct TargetsArguments {
  std::string name;             // empty: all
  std::filesystem::path model;  // empty: no particular model
  std::string gpu;              // empty: no particular GPU
};

}  // namespace kvtune
