#include "lib/io/model_directory.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/base/error.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// "ORGANIZATION/MODEL", the name of a model on the Hugging Face hub, or a path that reads like one.
bool IsHubId(const std::string& name) {
  return std::ranges::count(name, '/') == 1 && name.front() != '/' && name.front() != '.' &&
         name.front() != '~' && name.back() != '/';
}

[[noreturn]] void FailForGguf(const fs::path& directory, const std::string& file) {
  throw Error(fmt::format(
      "opening the model {}: found the GGUF file {}, expected a Hugging Face checkpoint directory: "
      "search the original checkpoint that it was made from, the plan holds for the GGUF file too",
      directory.string(), file));
}

}  // namespace

void RequireModelDirectory(const fs::path& directory) {
  if (!fs::exists(directory)) {
    const std::string name = directory.string();
    const std::string download =
        IsHubId(name) ? fmt::format(": hf download {} --local-dir {} fetches it from the hub", name,
                                    directory.filename().string())
                      : "";
    throw Error(fmt::format(
        "opening the model {}: found nothing, expected a Hugging Face checkpoint directory{}", name,
        download));
  }
  if (directory.extension() == ".gguf" && !fs::is_directory(directory)) {
    FailForGguf(directory, directory.filename().string());
  }
  if (!fs::is_directory(directory)) {
    throw Error(fmt::format(
        "opening the model {}: found a file, expected a Hugging Face checkpoint directory",
        directory.string()));
  }
}

// A directory that lacks a file of a checkpoint may hold a model in the form of llama.cpp.
void RefuseGguf(const fs::path& directory) {
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".gguf") {
      FailForGguf(directory, entry.path().filename().string());
    }
  }
}

DescribedModel DescribeModel(const fs::path& model) {
  if (fs::is_regular_file(model) && model.extension() != ".gguf") {
    return {.directory = fs::absolute(model).parent_path(),
            .is_file = true,
            .config = ReadModelConfig(model)};
  }
  return {.directory = model, .config = ReadConfigOf(model)};
}

ModelConfig ReadConfigOf(const fs::path& directory) {
  RequireModelDirectory(directory);
  if (!fs::exists(directory / "config.json")) {
    RefuseGguf(directory);
    throw Error(fmt::format("opening the model {}: found no config.json, expected one",
                            directory.string()));
  }
  return ReadModelConfig(directory / "config.json");
}

}  // namespace kvtune
