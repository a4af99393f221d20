// A Hugging Face checkpoint directory: config.json, tokenizer.json and one or more safetensors
// files.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/core/model_config.h"
#include "lib/io/safetensors.h"

namespace kvtune {

class Checkpoint {
 public:
  // Reads config.json and the headers of all shards; tensor data is touched only by Get.
  // Throws Error: missing directory or file, an index that names a missing shard or one outside the
  // directory, a tensor that the index places in the wrong shard.
  explicit Checkpoint(const std::filesystem::path& directory);

  const std::filesystem::path& directory() const { return directory_; }
  const ModelConfig& config() const { return config_; }
  bool Has(const std::string& tensor) const { return shard_of_.contains(tensor); }
  // Throws Error when the tensor is missing or its shape is not `expected_shape`.
  TensorView Get(const std::string& tensor, const std::vector<int64_t>& expected_shape) const;
  // Bytes of all shards.
  uint64_t weight_bytes() const;
  size_t shard_count() const { return shards_.size(); }

  // Content hash of config.json, tokenizer.json and all tensors by name: the same for a re-sharded
  // but equal model. Reads every page once.
  std::string ContentHash() const;

 private:
  std::filesystem::path directory_;
  ModelConfig config_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, const SafetensorsFile*> shard_of_;
};

// "llama-3-8b" of ".../llama-3-8b/": the directory's own name, for default output names.
std::string ModelName(const std::filesystem::path& directory);

}  // namespace kvtune
