#include "lib/io/checkpoint.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.h"
#include "lib/base/hash.h"
#include "lib/base/json_fields.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

void RequireDirectory(const fs::path& directory) {
  if (!fs::exists(directory)) {
    throw Error(fmt::format(
        "opening the model {}: found nothing, expected a Hugging Face checkpoint directory",
        directory.string()));
  }
  if (!fs::is_directory(directory)) {
    throw Error(fmt::format(
        "opening the model {}: found a file, expected a Hugging Face checkpoint directory",
        directory.string()));
  }
  if (!fs::exists(directory / "config.json")) {
    throw Error(fmt::format("opening the model {}: found no config.json, expected one",
                            directory.string()));
  }
}

// Tensor name to shard file name, as the index says it.
std::map<std::string, std::string> ReadIndex(const fs::path& index_path) {
  const Json index = ReadJsonFile(index_path);
  JsonFields fields(index, index_path.string());
  JsonFields weight_map = fields.Object("weight_map");
  std::map<std::string, std::string> shard_names;
  for (const std::string& tensor : weight_map.Keys()) {
    const std::string shard = weight_map.String(tensor);
    // A checkpoint is data from elsewhere: it must not make us read files outside its directory.
    if (shard.empty() || fs::path(shard).filename() != fs::path(shard) || shard == "..") {
      weight_map.Fail(
          tensor,
          fmt::format("found the shard \"{}\", expected a file name in the same directory", shard));
    }
    shard_names.emplace(tensor, shard);
  }
  if (shard_names.empty()) fields.Fail("weight_map", "found no tensors, expected some");
  return shard_names;
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& directory) : directory_(directory) {
  RequireDirectory(directory);
  config_ = ReadModelConfig(directory / "config.json");

  if (fs::exists(directory / kIndexFile)) {
    const fs::path index_path = directory / kIndexFile;
    const auto shard_names = ReadIndex(index_path);
    std::map<std::string, const SafetensorsFile*> open_shards;
    for (const auto& [tensor, shard] : shard_names) {
      const SafetensorsFile*& file = open_shards[shard];
      if (file == nullptr) {
        if (!fs::exists(directory / shard)) {
          throw Error(
              fmt::format("opening the model {}: found no shard {}, expected it as {} names it",
                          directory.string(), shard, kIndexFile));
        }
        file = shards_.emplace_back(std::make_unique<SafetensorsFile>(directory / shard)).get();
      }
      if (!file->Has(tensor)) {
        throw Error(fmt::format("reading {}: tensor {}: found none in {}, expected it there",
                                index_path.string(), tensor, shard));
      }
      shard_of_.emplace(tensor, file);
    }
  } else if (fs::exists(directory / kSingleFile)) {
    shards_.push_back(std::make_unique<SafetensorsFile>(directory / kSingleFile));
    for (const std::string& name : shards_[0]->names()) shard_of_.emplace(name, shards_[0].get());
  } else {
    throw Error(fmt::format("opening the model {}: found no weights, expected {} or {}",
                            directory.string(), kSingleFile, kIndexFile));
  }
}

TensorView Checkpoint::Get(const std::string& tensor,
                           const std::vector<int64_t>& expected_shape) const {
  const auto found = shard_of_.find(tensor);
  if (found == shard_of_.end()) {
    throw Error(fmt::format("loading the model {}: found no tensor {}, expected one of shape {}",
                            directory_.string(), tensor, ShapeText(expected_shape)));
  }
  TensorView view = found->second->Get(tensor);
  if (view.shape != expected_shape) {
    throw Error(fmt::format("loading the model {}: tensor {}: found the shape {}, expected {}",
                            directory_.string(), tensor, ShapeText(view.shape),
                            ShapeText(expected_shape)));
  }
  return view;
}

uint64_t Checkpoint::weight_bytes() const {
  uint64_t bytes = 0;
  for (const auto& shard : shards_) bytes += shard->bytes().size();
  return bytes;
}

std::string Checkpoint::ContentHash() const {
  kvtune::ContentHash hash;
  for (const char* name : {"config.json", "tokenizer.json"}) {
    if (!fs::exists(directory_ / name)) continue;
    hash.UpdateField(name);
    hash.UpdateField(ReadFile(directory_ / name));
  }
  for (const auto& [name, shard] : shard_of_) {  // sorted by name, whatever the sharding
    const TensorContents tensor = shard->Contents(name);
    hash.UpdateField(name);
    hash.UpdateField(fmt::format("{} {}", tensor.dtype, ShapeText(tensor.shape)));
    hash.Update(tensor.bytes);
  }
  return hash.Digest();
}

std::string ModelName(const fs::path& directory) {
  fs::path normal = fs::absolute(directory).lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();
  return normal.filename().string();
}

}  // namespace kvtune
