// A file that the user names for a result: it may replace an earlier result, but nothing that is
// read.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

namespace kvtune {

// Throws Error (kUsage) where `path`, which `option` names ("--samples"), is there already and is
// one of `inputs`, a file of a run (latency.json is one if the run's search reads it), or a file of
// a model: its configuration, its tokenizer, or weights in safetensors. Of these only a file that
// holds nothing but cache scales may be replaced, because an export writes such ones. Throws Error
// as RequireOutputFile does. An empty path stands for no file.
void RequireResultFile(const std::filesystem::path& path, std::string_view option,
                       std::span<const std::filesystem::path> inputs = {});

}  // namespace kvtune
