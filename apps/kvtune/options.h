// The arguments of every command, as the command line leaves them: checked for form, not yet for
// sense. Words that name a choice stay words; the command turns them into the stages' options.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kvtune {

enum class OutputFormat { kText, kJson };

// How the program was called.
struct Invocation {
  std::vector<std::string> command_line;
  OutputFormat format = OutputFormat::kText;
};

// What is to be run, on what and how: the same words in every command that runs the model.
struct ModelArguments {
  std::filesystem::path model;
  std::string target = "kvtuner";
  std::vector<std::filesystem::path> prompts;  // empty: the bundled calibration set
  int64_t max_prompts = 0;                     // 0: all
  int64_t max_tokens = 16384;                  // in all: minutes, not hours, on a CPU
  std::string long_prompts = "refuse";         // "refuse", "cut"
  uint64_t seed = 0;
  int64_t context = 8192;  // tokens at which bytes are counted
  std::string device = "auto";
  std::string dtype = "auto";
  int threads = 0;  // 0: as RunnerOptions::threads
  std::string prefill = "quantized";
  std::string weights = "auto";        // "auto", "resident", "stream"
  uint64_t max_activation_memory = 0;  // bytes; 0: a quarter of the free memory
};

// A run directory and the prompts that are kept out of the search.
struct RunArguments {
  std::filesystem::path out;  // empty: ./kvtune-<model name>-<target>
  std::string held_out;       // a file, "none", or empty: chosen by --prompts (run_prompts.h)
};

struct CalibrateOptionsArguments {
  std::string sensitivity = "eo";
  std::string metric_reduction = "ratio-of-sums";
};

struct PruneOptionsArguments {
  std::string sensitivity = "eo";
  std::string bits = "effective";
  double epsilon = 0;
  int min_pairs = 1;
};

struct ClusterOptionsArguments {
  bool no_cluster = false;
  int max_groups = 0;  // 0: no cap
};

struct SearchOptionsArguments {
  int population = 16;
  int generations = 8;
  std::string algorithm = "nsga2";
  bool exact = false;
  int64_t max_evaluations = 0;  // 0: no limit but the generations' and the refinement's
  double max_seconds = 0;       // 0: no limit
  int stall_generations = 0;    // 0: no limit
  bool no_racing = false;
  std::optional<uint64_t> search_seed;  // default: --seed
  std::filesystem::path known_scores;   // empty: none
  int64_t refine_evaluations = 50;
  bool no_refine = false;
};

struct CalibrateArguments {
  ModelArguments model;
  RunArguments run;
  CalibrateOptionsArguments calibrate;
};

struct PruneArguments {
  std::filesystem::path run;
  PruneOptionsArguments prune;
};

struct ClusterArguments {
  std::filesystem::path run;
  ClusterOptionsArguments cluster;
};

struct SearchArguments {
  ModelArguments model;
  RunArguments run;
  CalibrateOptionsArguments calibrate;
  PruneOptionsArguments prune;
  ClusterOptionsArguments cluster;
  SearchOptionsArguments search;
};

struct EvaluateArguments {
  ModelArguments model;
  std::vector<std::string> plans;
  std::string uniform;  // "all" or empty
  bool read_stdin = false;
  std::filesystem::path known_scores;  // empty: none
};

struct GateArguments {
  ModelArguments model;  // device, dtype, threads and seed alone; the configs say the rest
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

struct FrontArguments {
  std::filesystem::path run;
  std::string plan;  // of show and export
};

struct PickArguments {
  std::filesystem::path run;
  std::optional<double> max_loss;
  std::optional<double> max_bits;
  std::optional<double> max_bytes;
  bool lossless = false;
};

struct ExportArguments {
  std::filesystem::path run;
  std::string plan;
  std::string format;
  std::filesystem::path out;  // empty: stdout
  bool project = false;       // the nearest plan that the format can express
};

struct InspectArguments {
  std::filesystem::path model;  // a checkpoint directory or a config.json
  std::string target = "kvtuner";
  int64_t context = 8192;
  std::string device = "auto";
};

struct TokenizeArguments {
  std::filesystem::path model;
  std::filesystem::path file;  // empty: stdin
  bool jsonl = false;
  bool no_special = false;
};

struct TargetsArguments {
  std::string name;             // empty: all
  std::filesystem::path model;  // empty: none in particular
};

}  // namespace kvtune
