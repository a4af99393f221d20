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

// Shards are opened when a tensor of theirs is first asked for. Const methods are thread-safe.
class Checkpoint {
 public:
  // Reads config.json and the index, or the header of the only file. Says on the log where a model
  // also reads images, which are no part of what is measured. Throws Error: missing
  // directory or file, an index that names a missing shard or one outside the directory.
  explicit Checkpoint(const std::filesystem::path& directory);
  ~Checkpoint();

  const std::filesystem::path& directory() const { return directory_; }
  const ModelConfig& config() const { return config_; }
  const WeightFormat& weight_format() const { return weight_format_; }

  // Tensors go by the names of a plain decoder ("model.layers.0...", "lm_head.weight"), also where
  // the text model of a larger one, or a model saved without its head, has other names.
  bool Has(const std::string& tensor) const { return shard_of_.contains(StoredName(tensor)); }
  // Whether any tensor belongs to this module: "lm_head", also where its weight is quantized.
  bool HasModule(const std::string& module) const;
  std::string StoredName(const std::string& tensor) const;
  // A tensor of floats. Throws Error when it is missing, of another type or its shape is not
  // `expected_shape`; and when its shard does not hold what the index says, or also a tensor of
  // another shard.
  TensorView Get(const std::string& tensor, const std::vector<int64_t>& expected_shape) const;
  // A tensor of any type and shape. Throws Error as Get.
  TensorContents Contents(const std::string& tensor) const;
  // Bytes of all shards.
  uint64_t weight_bytes() const;
  size_t shard_count() const { return shards_.size(); }

  // Content hash of the configuration and of all tensors by name: the same for an equal model that
  // was sharded anew, saved by another version of its library, or that tokenizes by another file
  // (prompts are hashed as token ids). Reads every page once.
  std::string ContentHash() const;

 private:
  struct Shard;

  const SafetensorsFile& Open(Shard& shard) const;
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

// "llama-3-8b" of ".../llama-3-8b/": the directory's own name, for default output names.
std::string ModelName(const std::filesystem::path& directory);

}  // namespace kvtune
