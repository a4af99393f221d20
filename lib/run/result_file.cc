#include "lib/run/result_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/core/artifacts.h"
#include "lib/io/safetensors.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

// What a checkpoint in Hugging Face form has beside its weights, as far as kvtune or an engine
// reads it.
constexpr std::array<std::string_view, 11> kModelFiles = {"config.json",
                                                          "generation_config.json",
                                                          "tokenizer.json",
                                                          "tokenizer_config.json",
                                                          "tokenizer.model",
                                                          "vocab.json",
                                                          "merges.txt",
                                                          "special_tokens_map.json",
                                                          "chat_template.jinja",
                                                          "chat_template.json",
                                                          "preprocessor_config.json"};

bool IsScale(std::string_view tensor) {
  return tensor.ends_with("k_scale") || tensor.ends_with("v_scale");
}

// Whether a safetensors file holds what is not to be lost. One that cannot be read is such a file:
// nobody knows what is in it.
bool HoldsWeights(const fs::path& file) {
  std::error_code ignored;
  if (fs::file_size(file, ignored) == 0) return false;
  try {
    return !std::ranges::all_of(SafetensorsFile(file).names(), IsScale);
  } catch (const Error&) {
    return true;
  }
}

bool IsModelFile(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name.ends_with(".safetensors")) return HoldsWeights(path);
  if (name.ends_with(".safetensors.index.json") || name == kModelFiles.front()) return true;
  std::error_code ignored;
  return std::ranges::find(kModelFiles, name) != kModelFiles.end() &&
         fs::exists(path.parent_path() / kModelFiles.front(), ignored);
}

// Whether the run's search counts milliseconds, for which it has to find its times again.
bool SearchesByTime(const RunDirectory& run) {
  try {
    const Json options =
        ReadJsonFile(run.run()).value(Json::json_pointer("/stages/search/options"), Json());
    return options.contains("--objective-latency");
  } catch (const std::exception&) {  // no run.json of ours
    return false;
  }
}

bool IsRunFile(const fs::path& path) {
  const RunDirectory run(path.parent_path());
  std::error_code ignored;
  if (!fs::exists(run.run(), ignored)) return false;
  if (path.filename() == run.latency().filename()) return SearchesByTime(run);
  return std::ranges::any_of(
      run.files(), [&](const fs::path& file) { return file.filename() == path.filename(); });
}

}  // namespace

void RequireResultFile(const fs::path& path, std::string_view option,
                       std::span<const fs::path> inputs) {
  if (path.empty()) return;
  RequireOutputFile(path);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return;
  const auto refuse = [&](std::string_view what) {
    throw Error(fmt::format("{} {}: found {} there, expected another place for the result", option,
                            path.string(), what),
                ExitCode::kUsage);
  };
  for (const fs::path& input : inputs) {
    if (fs::equivalent(path, input, ignored)) refuse("the input " + input.string());
  }
  // A link may be named, and so may be the file that it leads to.
  for (const fs::path& file : {path, fs::weakly_canonical(path, ignored)}) {
    if (IsRunFile(file)) refuse("a file of a run");
    if (IsModelFile(file)) refuse("a file of a model");
  }
}

}  // namespace kvtune
