// A Hugging Face checkpoint directory: config.json, tokenizer.json and one or more safetensors
// files.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lib/core/model_config.h"
#include "lib/io/safetensors.h"
#include "lib/io/weight_format.h"

namespace kvtune {

// A shard is opened when one of its tensors is first asked for. Const methods are thread-safe.
class Checkpoint {
 public:
  // Reads config.json and the index, or the header of the only safetensors file. Says on the log
  // where a model also reads images, which are no part of what is measured. Throws Error when the
  // directory or a file is missing, and when the index names a shard that is missing or outside the
  // directory.
  explicit Checkpoint(const std::filesystem::path& directory);
  ~Checkpoint();

  const std::filesystem::path& directory() const { return directory_; }
  const ModelConfig& config() const { return config_; }
  const WeightFormat& weight_format() const { return weight_format_; }

  // Tensors go by the names of a plain decoder ("model.layers.0...", "lm_head.weight"), also where
  // the text model of a larger one, or a model that was saved without its head, has other names.
  bool Has(const std::string& tensor) const { return shard_of_.contains(StoredName(tensor)); }
  // Whether any tensor belongs to this module: "lm_head", also where its weight is quantized.
  bool HasModule(const std::string& module) const;
  std::string StoredName(const std::string& tensor) const;
  // Returns a tensor of floats. Throws Error when it is missing, is of another type or has not
  // `expected_shape`, and when its shard lacks a tensor that the index promises or holds a tensor
  // of another shard.
  TensorView Get(const std::string& tensor, const std::vector<int64_t>& expected_shape) const;
  // Returns a tensor of any type and shape. Throws Error in the other cases of Get.
  TensorContents Contents(const std::string& tensor) const;
  // The size of all shards together.
  uint64_t weight_bytes() const;
  size_t shard_count() const { return shards_.size(); }

  // The content hash of the configuration and of all tensors by name. It stays the same when an
  // equal model is sharded anew, is saved by another version of its library, or has another
  // tokenizer file (prompts are hashed as token ids). Computing it reads every page once. Throws
  // Error as RequireUnchanged does.
  std::string ContentHash() const;

  // The same over the first bytes of every tensor, which tells models apart without reading them.
  std::string QuickHash() const;

  // Throws Error when a shard has another size or time of modification than when it was opened, or
  // when a page of it could not be read: what was read since is then no single model.
  void RequireUnchanged() const;

 private:
  struct Shard;

  const SafetensorsFile& Open(Shard& shard) const;
  std::string HashOfTensors(size_t most_bytes_each) const;
  // By its stored name.
  const SafetensorsFile& ShardOf(const std::string& stored) const;
  void FindPrefixes();

  std::filesystem::path directory_;
  ModelConfig config_;
  WeightFormat weight_format_;
  std::map<std::string, std::unique_ptr<Shard>> shards_;  // by file name
  std::map<std::string, Shard*> shard_of_;
  std::string body_prefix_ = "model.";  // of the decoder's stored names
  std::string head_prefix_;             // of the head's
  mutable std::mutex opening_;
};

// The directory's own name, for example "llama-3-8b" of ".../llama-3-8b/". Default names of output
// files use it.
std::string ModelName(const std::filesystem::path& directory);

}  // namespace kvtune
