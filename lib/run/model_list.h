// The models of `kvtune search --models`, each with the run directory that it gets.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kvtune {

struct ListedModel {
  std::filesystem::path model;  // checkpoint directory
  std::string name;             // of its run directory
};

// Each of `entries` is a checkpoint directory, or a file with one a line, in which empty lines and
// those that begin with # do not count. Relative paths are relative to the working folder. Throws
// Error for a file that cannot be read or names nothing, and (kUsage) for two models of one name.
std::vector<ListedModel> ReadModelList(const std::vector<std::filesystem::path>& entries);

}  // namespace kvtune
