// Options that several commands have. They are declared once, so that they mean the same
// everywhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apps/kvtune/options.h"
#include "lib/base/words.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace kvtune {

// Adds an option that takes one of `words` and hands it to `set`. The help and the error message
// list the words. The help does not show an empty default.
CLI::Option* AddWord(CLI::App& app, const std::string& flag, std::vector<std::string> words,
                     std::string_view default_word, std::function<void(const std::string&)> set,
                     const std::string& help);

// Adds an option for the values of a table of words (lib/base/words.h). The default is what `value`
// holds at the call.
template <typename Table, typename Value>
CLI::Option* AddChoice(CLI::App& app, const std::string& flag, Value& value, const Table& table,
                       const std::string& help) {
  const auto set = [&value, &table, flag](const std::string& word) {
    value = ValueOf(table, word, flag);
  };
  return AddWord(app, flag, WordsOf(table), WordOf(table, value), set, help);
}

// The options of every command.
struct CommonOptions {
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  bool print_config = false;
};

// Adds them after the command's own. `check` has a --config of another meaning, so it alone takes
// no file of options.
void AddCommonOptions(CLI::App& app, CommonOptions& common);

// --kernels, of the commands that search; its default is not that of RunInputs.
void AddKernels(CLI::App& app, KernelChoice& kernels);
void AddTarget(CLI::App& app, std::string& target);
void AddModel(CLI::App& app, std::filesystem::path& model);
void AddContext(CLI::App& app, int64_t& context);
void AddDevice(CLI::App& app, std::string& device);
// --memory, --gpu, --parallel and --weights-size.
void AddMemoryOptions(CLI::App& app, MemoryOptions& memory);
// An option for a number of bytes that may have a unit.
void AddSizeLimit(CLI::App& app, const std::string& flag, std::optional<double>& bytes,
                  const std::string& help);
// An optional count of at least 1 that may have a unit.
void AddCount(CLI::App& app, const std::string& flag, std::optional<int64_t>& count,
              const std::string& type, const std::string& help);
// A repeatable count of at least 1 that may have a unit.
void AddCounts(CLI::App& app, const std::string& flag, std::vector<int64_t>& counts,
               const std::string& type, const std::string& help);
void AddRunDirectory(CLI::App& app, std::filesystem::path& run);

// Adds the options that say where and how the model runs: --device, --dtype, --threads, --weights,
// --max-activation-memory.
void AddModelOptions(CLI::App& app, ModelOptions& options);
void AddSeed(CLI::App& app, uint64_t& seed);
// Adds an option that takes a finite number from 0 on.
void AddLimit(CLI::App& app, const std::string& flag, std::optional<double>& limit,
              const std::string& unit, const std::string& help);
// Adds all options that every command which runs the model has.
void AddRunInputs(CLI::App& app, RunInputs& inputs);
void AddRunPlace(CLI::App& app, RunPlace& place);

// The options of single stages. --sensitivity has a function of its own, because the one flag sets
// options of both calibrate and prune.
void AddSensitivity(CLI::App& app, ScreeningError& screening);
void AddCalibrateOptions(CLI::App& app, CalibrateOptions& calibrate);
void AddPruneOptions(CLI::App& app, PruneOptions& prune);
void AddClusterOptions(CLI::App& app, ClusterOptions& cluster);
void AddKnownScores(CLI::App& app, std::filesystem::path& file);
// The options that name a task and what is changed about it.
void AddTask(CLI::App& app, TaskOptions& task);
// --objective-latency and the decode step that it is about.
void AddLatency(CLI::App& app, LatencyOptions& by_time, const std::string& help);
void AddSearchOptions(CLI::App& app, SearchStepOptions& step);

}  // namespace kvtune
