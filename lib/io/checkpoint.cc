#include "lib/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/json_fields.h"
#include "lib/base/log.h"
#include "lib/io/checkpoint_index.h"
#include "lib/io/model_directory.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

// What the file says, without regard to its layout and without the fields that do not influence any
// computation.
std::string CanonicalConfig(const fs::path& path) {
  constexpr const char* kDescriptive[] = {"_name_or_path", "transformers_version", "torch_dtype",
                                          "dtype", "use_cache"};
  nlohmann::json config = ReadJsonFile(path);  // sorted by key
  for (const char* key : kDescriptive) config.erase(key);
  return config.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

struct Checkpoint::Shard {
  fs::path path;
  std::vector<std::string> tensors;       // as the index says; none without an index
  std::unique_ptr<SafetensorsFile> file;  // null until a tensor is asked for
};

Checkpoint::Checkpoint(const fs::path& directory) : directory_(directory) {
  config_ = ReadConfigOf(directory);
  weight_format_ = ReadWeightFormat(directory);

  if (fs::exists(directory / kIndexFile)) {
    for (const auto& [tensor, name] : ParseCheckpointIndex(ReadFile(directory / kIndexFile),
                                                           (directory / kIndexFile).string())) {
      std::unique_ptr<Shard>& shard = shards_[name];
      if (shard == nullptr) {
        if (!fs::exists(directory / name)) {
          throw Error(
              fmt::format("opening the model {}: found no shard {}, expected it as {} names it",
                          directory.string(), name, kIndexFile));
        }
        shard = std::make_unique<Shard>(Shard{directory / name, {}, nullptr});
      }
      shard->tensors.push_back(tensor);
      shard_of_.emplace(tensor, shard.get());
    }
  } else if (fs::exists(directory / kSingleFile)) {
    auto shard = std::make_unique<Shard>(Shard{directory / kSingleFile, {}, nullptr});
    for (const std::string& name : Open(*shard).names()) shard_of_.emplace(name, shard.get());
    shards_.emplace(kSingleFile, std::move(shard));
  } else {
    RefuseGguf(directory);
    throw Error(fmt::format("opening the model {}: found no weights, expected {} or {}",
                            directory.string(), kSingleFile, kIndexFile));
  }
  FindPrefixes();
  if (config_.reads_images) {
    LogInfo(
        fmt::format("{}: {} also reads images; its text model is measured, images are not part "
                    "of the measurement",
                    directory.string(), config_.architecture));
  }
}

Checkpoint::~Checkpoint() = default;

void Checkpoint::FindPrefixes() {
  // The whole of a plain model, its decoder alone, and the text models of larger ones.
  constexpr std::string_view kBodies[] = {
      "model.",           "", "language_model.model.", "model.language_model.", "language_model.",
      "model.text_model."};
  for (const std::string_view body : kBodies) {
    if (!shard_of_.contains(std::string(body) + "embed_tokens.weight")) continue;
    body_prefix_ = body;
    break;
  }
  constexpr std::string_view kHeads[] = {"", "language_model."};
  for (const std::string_view head : kHeads) {
    head_prefix_ = head;
    if (HasModule("lm_head")) return;
  }
  head_prefix_.clear();
}

std::string Checkpoint::StoredName(const std::string& tensor) const {
  constexpr std::string_view kBody = "model.", kHead = "lm_head";
  if (tensor.starts_with(kBody)) return body_prefix_ + tensor.substr(kBody.size());
  return tensor.starts_with(kHead) ? head_prefix_ + tensor : tensor;
}

bool Checkpoint::HasModule(const std::string& module) const {
  const std::string beginning = StoredName(module) + ".";
  const auto found = shard_of_.lower_bound(beginning);
  return found != shard_of_.end() && found->first.starts_with(beginning);
}

const SafetensorsFile& Checkpoint::Open(Shard& shard) const {
  const std::scoped_lock lock(opening_);
  if (shard.file != nullptr) return *shard.file;
  auto file = std::make_unique<SafetensorsFile>(shard.path);
  // An index and a shard that disagree are parts of two checkpoints. Loading either version
  // silently would measure a model that nobody has.
  const auto fail = [&](const std::string& tensor, const std::string& found_and_expected) {
    throw Error(fmt::format("reading {}: tensor {}: {}", (directory_ / kIndexFile).string(), tensor,
                            found_and_expected));
  };
  const std::string name = shard.path.filename().string();
  for (const std::string& tensor : shard.tensors) {
    if (!file->Has(tensor)) {
      fail(tensor, fmt::format("found none in {}, expected it there", name));
    }
  }
  for (const std::string& tensor : file->names()) {
    const auto place = shard_of_.find(tensor);
    if (place == shard_of_.end() || place->second == &shard) continue;
    fail(tensor, fmt::format("found it in {} too, expected it in {} alone", name,
                             place->second->path.filename().string()));
  }
  shard.file = std::move(file);
  return *shard.file;
}

const SafetensorsFile& Checkpoint::ShardOf(const std::string& stored) const {
  const auto found = shard_of_.find(stored);
  if (found == shard_of_.end()) {
    throw Error(fmt::format("loading the model {}: found no tensor {}, expected one",
                            directory_.string(), stored));
  }
  return Open(*found->second);
}

TensorView Checkpoint::Get(const std::string& tensor,
                           const std::vector<int64_t>& expected_shape) const {
  const std::string stored = StoredName(tensor);
  if (!Has(tensor)) {
    throw Error(fmt::format("loading the model {}: found no tensor {}, expected one of shape {}",
                            directory_.string(), stored, ShapeText(expected_shape)));
  }
  TensorView view = ShardOf(stored).Get(stored);
  if (view.shape != expected_shape) {
    throw Error(fmt::format("loading the model {}: tensor {}: found the shape {}, expected {}",
                            directory_.string(), stored, ShapeText(view.shape),
                            ShapeText(expected_shape)));
  }
  return view;
}

TensorContents Checkpoint::Contents(const std::string& tensor) const {
  const std::string stored = StoredName(tensor);
  return ShardOf(stored).Contents(stored);
}

uint64_t Checkpoint::weight_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, shard] : shards_) {
    // Opening says what stands in the place of a file.
    std::error_code unknown;
    if (!fs::is_regular_file(shard->path, unknown)) OpenForReading(shard->path, "opening");
    bytes += fs::file_size(shard->path);
  }
  return bytes;
}

std::string Checkpoint::ContentHash() const {
  return HashOfTensors(std::numeric_limits<size_t>::max());
}

std::string Checkpoint::QuickHash() const {
  constexpr size_t kPage = 4096;
  return HashOfTensors(kPage);
}

std::string Checkpoint::HashOfTensors(size_t most_bytes_each) const {
  kvtune::ContentHash hash;
  for (const char* name : {"config.json", "hf_quant_config.json"}) {
    if (!fs::exists(directory_ / name)) continue;
    hash.UpdateField(name);
    hash.UpdateField(CanonicalConfig(directory_ / name));
  }
  for (const auto& [name, shard] : shard_of_) {  // sorted by name, whatever the sharding
    const TensorContents tensor = ShardOf(name).Contents(name);
    hash.UpdateField(name);
    hash.UpdateField(fmt::format("{} {}", tensor.dtype, ShapeText(tensor.shape)));
    const auto hashed = tensor.bytes.first(std::min(most_bytes_each, tensor.bytes.size()));
    hash.Update(hashed);
    // A checkpoint may be larger than the memory, and its pages are not needed again soon.
    DropPages(hashed);
  }
  RequireUnchanged();
  return hash.Digest();
}

void Checkpoint::RequireUnchanged() const {
  const std::scoped_lock lock(opening_);
  for (const auto& [name, shard] : shards_) {
    if (shard->file != nullptr) shard->file->RequireUnchanged();
  }
}

std::string ModelName(const fs::path& directory) {
  fs::path normal = fs::absolute(directory).lexically_normal();
  if (!normal.has_filename()) normal = normal.parent_path();
  return normal.filename().string();
}

}  // namespace kvtune
