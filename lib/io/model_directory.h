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

// Reads config.json of a checkpoint's directory. Throws Error, also as the two above do.
ModelConfig ReadConfigOf(const std::filesystem::path& directory);

}  // namespace kvtune
