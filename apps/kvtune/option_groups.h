// Options that several commands have, declared once so that they mean the same everywhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/kvtune/options.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace kvtune {

// An option that takes one of `choices`; help and error message list them.
CLI::Option* AddChoice(CLI::App& app, const std::string& flag, std::string& value,
                       const std::vector<std::string>& choices, const std::string& help);

void AddTarget(CLI::App& app, std::string& target);
void AddModel(CLI::App& app, std::filesystem::path& model);
void AddContext(CLI::App& app, int64_t& context);
void AddDevice(CLI::App& app, std::string& device);
void AddRunDirectory(CLI::App& app, std::filesystem::path& run);

// Where and how the model runs: --device, --dtype, --threads, --weights, --max-activation-memory.
void AddDeviceArguments(CLI::App& app, ModelArguments& model);
void AddSeed(CLI::App& app, uint64_t& seed);
// Every option of the commands that run the model.
void AddModelArguments(CLI::App& app, ModelArguments& model);
void AddRunArguments(CLI::App& app, RunArguments& run);

// The stages' own. --sensitivity is apart: one flag serves calibrate and prune.
void AddSensitivity(CLI::App& app, std::string& sensitivity);
void AddCalibrateOptions(CLI::App& app, CalibrateOptionsArguments& calibrate);
void AddPruneOptions(CLI::App& app, PruneOptionsArguments& prune);
void AddClusterOptions(CLI::App& app, ClusterOptionsArguments& cluster);
void AddKnownScores(CLI::App& app, std::filesystem::path& file);
void AddSearchOptions(CLI::App& app, SearchOptionsArguments& search);

}  // namespace kvtune
