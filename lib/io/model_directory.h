// The directory of a checkpoint, before anything but its configuration is read.
#pragma once

#include <filesystem>

#include "lib/core/model_config.h"

namespace kvtune {

// Throws Error where the path is no directory: one line says how to fetch what reads like the name
// of a model on the hub, and what to do about a GGUF file.
void RequireModelDirectory(const std::filesystem::path& directory);

// Throws Error where the directory holds a GGUF file, which is no checkpoint.
void RefuseGguf(const std::filesystem::path& directory);

// What a model is, for commands that need no weights.
struct DescribedModel {
  std::filesystem::path directory;  // that its configuration stands in
  bool is_file = false;  // the configuration was named, so what stands beside it does not count
  ModelConfig config;
};
// Reads the configuration that `model` names: a checkpoint's directory, or a config.json. Throws
// Error as ReadConfigOf.
DescribedModel DescribeModel(const std::filesystem::path& model);

// Reads config.json of a checkpoint's directory. Throws Error, also as the two above do.
ModelConfig ReadConfigOf(const std::filesystem::path& directory);

}  // namespace kvtune
