#include "lib/io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "tests/io/safetensors_builder.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kNorm = "model.norm.weight";

std::vector<NamedTensor> ReadTensors(const fs::path& path) {
  const SafetensorsFile file(path);
  std::vector<NamedTensor> tensors;
  for (const std::string& name : file.names()) {
    const TensorView view = file.Get(name);
    tensors.push_back({name,
                       "F32",
                       view.shape,
                       {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()}});
  }
  return tensors;
}

std::string ShardName(size_t shard) { return "model-" + std::to_string(shard) + ".safetensors"; }

// Deals the tensors of a single-file checkpoint out to shards, with an index.
void Shard(const fs::path& from, const fs::path& to, size_t shard_count) {
  fs::create_directories(to);
  fs::copy_file(from / "config.json", to / "config.json");
  std::vector<std::vector<NamedTensor>> shards(shard_count);
  Json index;
  size_t next = 0;
  for (NamedTensor& tensor : ReadTensors(from / "model.safetensors")) {
    const size_t shard = next++ % shard_count;
    index["weight_map"][tensor.name] = ShardName(shard);
    shards[shard].push_back(std::move(tensor));
  }
  for (size_t shard = 0; shard < shard_count; ++shard)
    WriteTensors(to / ShardName(shard), shards[shard]);
  WriteJsonFileAtomically(to / kIndex, index);
}

class CheckpointFolder : public ::testing::Test {
 protected:
  CheckpointFolder() {
    WriteTinyCheckpoint({.layers = 1,
                         .hidden = 8,
                         .intermediate = 8,
                         .query_heads = 2,
                         .kv_heads = 1,
                         .head_dim = 4,
                         .vocab = 16},
                        single());
    Shard(single(), sharded(), 3);
  }

  fs::path single() const { return directory_ / "single"; }
  fs::path sharded() const { return directory_ / "sharded"; }

  static auto Opening(const fs::path& directory) {
    return [directory] { Checkpoint checkpoint(directory); };
  }

  // Reading a tensor of the sharded checkpoint after a change of its index.
  auto ReadingWithIndex(const std::function<void(Json&)>& edit, const std::string& tensor) const {
    Json index = ReadJsonFile(sharded() / kIndex);
    edit(index);
    WriteJsonFileAtomically(sharded() / kIndex, index);
    return [this, tensor] { Checkpoint(sharded()).Contents(tensor); };
  }

  // Opening the sharded checkpoint after a change of its index.
  auto OpeningWithIndex(const std::function<void(Json&)>& edit) const {
    Json index = ReadJsonFile(sharded() / kIndex);
    edit(index);
    WriteJsonFileAtomically(sharded() / kIndex, index);
    return Opening(sharded());
  }

 private:
  TemporaryDirectory directory_;
};

// The thread sanitizer has something to see here.
TEST_F(CheckpointFolder, ThreadsOpenShardsAtTheSameTime) {
  const Checkpoint checkpoint(sharded());
  const SafetensorsFile expected(single() / "model.safetensors");
  const std::vector<std::string> names = expected.names();
  std::atomic<size_t> equal = 0;
  std::vector<std::thread> threads;
  for (size_t first = 0; first < 4; ++first) {
    threads.emplace_back([&, first] {
      for (size_t i = 0; i < names.size(); ++i) {
        const std::string& name = names[(i + first) % names.size()];
        equal += std::ranges::equal(checkpoint.Contents(name).bytes, expected.Contents(name).bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 4 * names.size());
}

TEST_F(CheckpointFolder, ASingleFileIsRead) {
  const Checkpoint checkpoint(single());
  EXPECT_EQ(checkpoint.directory(), single());
  EXPECT_EQ(checkpoint.config().layer_count(), 1);
  EXPECT_EQ(checkpoint.shard_count(), 1u);
  EXPECT_EQ(checkpoint.weight_bytes(), fs::file_size(single() / "model.safetensors"));
  EXPECT_TRUE(checkpoint.Has(kNorm));
  EXPECT_FALSE(checkpoint.Has("lm_head.weight"));
  EXPECT_EQ(checkpoint.Get(kNorm, {8}).bytes.size(), 32u);
}

TEST_F(CheckpointFolder, ShardsHoldTheSameTensors) {
  const Checkpoint one(single()), many(sharded());
  EXPECT_EQ(many.shard_count(), 3u);
  for (const NamedTensor& tensor : ReadTensors(single() / "model.safetensors")) {
    const TensorView a = one.Get(tensor.name, tensor.shape),
                     b = many.Get(tensor.name, tensor.shape);
    EXPECT_TRUE(std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end()))
        << tensor.name;
  }
}

TEST_F(CheckpointFolder, AnIndexWinsOverASingleFile) {
  fs::copy_file(single() / "model.safetensors", sharded() / "model.safetensors");
  EXPECT_EQ(Checkpoint(sharded()).shard_count(), 3u);
}

TEST_F(CheckpointFolder, MissingFilesAreNamed) {
  EXPECT_THAT(Opening("/nowhere/model"),
              ThrowsMessage<Error>(HasSubstr(
                  "opening the model /nowhere/model: found nothing, expected a Hugging Face "
                  "checkpoint directory")));
  EXPECT_THAT(Opening(single() / "model.safetensors"),
              ThrowsMessage<Error>(HasSubstr("found a file, expected a")));
  fs::remove(sharded() / ShardName(1));
  EXPECT_THAT(Opening(sharded()),
              ThrowsMessage<Error>(HasSubstr("found no shard model-1.safetensors, expected it as "
                                             "model.safetensors.index.json names it")));
  fs::remove(single() / "model.safetensors");
  EXPECT_THAT(Opening(single()), ThrowsMessage<Error>(HasSubstr(
                                     "single: found no weights, expected model.safetensors or "
                                     "model.safetensors.index.json")));
  fs::remove(single() / "config.json");
  EXPECT_THAT(Opening(single()),
              ThrowsMessage<Error>(HasSubstr("single: found no config.json, expected one")));
}

TEST_F(CheckpointFolder, TheIndexStaysInItsDirectory) {
  for (const char* outside :
       {"../single/model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", ""}) {
    EXPECT_THAT(OpeningWithIndex([&](Json& index) { index["weight_map"][kNorm] = outside; }),
                ThrowsMessage<Error>(AllOf(
                    HasSubstr(std::string("weight_map: \"model.norm.weight\": found the shard \"") +
                              outside + "\""),
                    HasSubstr("expected a file name in the same directory"))));
  }
}

TEST_F(CheckpointFolder, TheIndexHasToBeTrue) {
  const std::string right = ReadJsonFile(sharded() / kIndex)["weight_map"][kNorm];
  const std::string wrong = right == ShardName(0) ? ShardName(1) : ShardName(0);
  EXPECT_THAT(ReadingWithIndex([&](Json& index) { index["weight_map"][kNorm] = wrong; }, kNorm),
              ThrowsMessage<Error>(
                  AllOf(HasSubstr(kIndex), HasSubstr("tensor model.norm.weight: found none in " +
                                                     wrong + ", expected it there"))));
  EXPECT_THAT(OpeningWithIndex([](Json& index) { index["weight_map"] = Json::object(); }),
              ThrowsMessage<Error>(HasSubstr("\"weight_map\": found no tensors, expected some")));
  EXPECT_THAT(OpeningWithIndex([](Json& index) { index.erase("weight_map"); }),
              ThrowsMessage<Error>(HasSubstr("\"weight_map\": found nothing, expected an object")));
  WriteFileAtomically(sharded() / kIndex, "{");
  EXPECT_THAT(Opening(sharded()),
              ThrowsMessage<Error>(AllOf(HasSubstr(kIndex), HasSubstr("not valid JSON"))));
}

TEST_F(CheckpointFolder, ShardsAreOpenedWhenATensorIsAskedFor) {
  const auto weight_map = ReadJsonFile(sharded() / kIndex)["weight_map"];
  const std::string broken = weight_map[kNorm];
  WriteFileAtomically(sharded() / broken, "");
  const Checkpoint checkpoint(sharded());
  for (const auto& entry : weight_map.items()) {
    const std::string& tensor = entry.key();
    if (entry.value() == broken) {
      EXPECT_THAT([&] { checkpoint.Contents(tensor); },
                  ThrowsMessage<Error>(HasSubstr("found 0 bytes")));
    } else {
      EXPECT_FALSE(checkpoint.Contents(tensor).bytes.empty());
    }
  }
}

TEST_F(CheckpointFolder, TheWeightsHaveASizeWhereAllShardsAreFiles) {
  const fs::path shard = sharded() / ShardName(1);
  fs::remove(shard);
  ASSERT_EQ(::mkfifo(shard.c_str(), 0600), 0);
  const Checkpoint checkpoint(sharded());
  EXPECT_THAT([&] { checkpoint.weight_bytes(); },
              ThrowsMessage<Error>("opening " + shard.string() +
                                   ": found a pipe, expected a regular file"));
}

TEST_F(CheckpointFolder, ATensorOfTwoShardsIsRefused) {
  const Json weight_map = ReadJsonFile(sharded() / kIndex)["weight_map"];
  const std::string right = weight_map[kNorm],
                    other = right == ShardName(0) ? ShardName(1) : ShardName(0);
  std::vector<NamedTensor> tensors = ReadTensors(sharded() / other);
  const std::string neighbour = tensors[0].name;
  tensors.push_back({kNorm, "F32", {1}, "1234"});
  WriteTensors(sharded() / other, tensors);
  EXPECT_THAT([&] { Checkpoint(sharded()).Contents(neighbour); },
              ThrowsMessage<Error>(HasSubstr("tensor model.norm.weight: found it in " + other +
                                             " too, expected it in " + right + " alone")));
}

TEST_F(CheckpointFolder, TheIndexNamesATensorOnce) {
  std::string index = ReadFile(sharded() / kIndex);
  const std::string entry = "\"model.norm.weight\":";
  index.replace(index.find(entry), entry.size(), entry + " \"model-0.safetensors\", " + entry);
  WriteFileAtomically(sharded() / kIndex, index);
  EXPECT_THAT(Opening(sharded()),
              ThrowsMessage<Error>(HasSubstr("found the key \"model.norm.weight\" twice")));
}

TEST_F(CheckpointFolder, MissingAndMisshapenTensorsAreNamed) {
  const Checkpoint checkpoint(single());
  EXPECT_THAT(
      [&] {
        checkpoint.Get("lm_head.weight", {16, 8});
      },
      ThrowsMessage<Error>(
          HasSubstr("single: found no tensor lm_head.weight, expected one of shape [16, 8]")));
  EXPECT_THAT(
      [&] {
        checkpoint.Get(kNorm, {2, 4});
      },
      ThrowsMessage<Error>(
          HasSubstr("single: tensor model.norm.weight: found the shape [8], expected [2, 4]")));
}

TEST_F(CheckpointFolder, ContentHashIgnoresTheSharding) {
  EXPECT_EQ(Checkpoint(single()).ContentHash(), Checkpoint(sharded()).ContentHash());
}

TEST_F(CheckpointFolder, ContentHashSeesEveryBitOfTheWeights) {
  const std::string before = Checkpoint(single()).ContentHash();
  const fs::path weights = single() / "model.safetensors";
  std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-1, std::ios::end);
  const char last = static_cast<char>(file.get());
  file.seekp(-1, std::ios::end);
  file.put(static_cast<char>(last ^ 1));
  file.close();
  EXPECT_NE(Checkpoint(single()).ContentHash(), before);
}

TEST_F(CheckpointFolder, ContentHashSeesNamesShapesAndConfiguration) {
  const std::string before = Checkpoint(single()).ContentHash();
  const fs::path weights = single() / "model.safetensors";
  const std::vector<NamedTensor> tensors = ReadTensors(weights);

  std::vector<NamedTensor> changed = tensors;
  changed[0].name += "x";
  WriteTensors(weights, changed);
  EXPECT_NE(Checkpoint(single()).ContentHash(), before);

  changed = tensors;
  std::reverse(changed[0].shape.begin(), changed[0].shape.end());
  WriteTensors(weights, changed);
  EXPECT_NE(Checkpoint(single()).ContentHash(), before);

  WriteTensors(weights, tensors);
  EXPECT_EQ(Checkpoint(single()).ContentHash(), before);
  Json config = ReadJsonFile(single() / "config.json");
  config["rms_norm_eps"] = 1e-3;
  WriteJsonFileAtomically(single() / "config.json", config);
  EXPECT_NE(Checkpoint(single()).ContentHash(), before);
}

TEST_F(CheckpointFolder, ContentHashIgnoresWhatNothingIsComputedFrom) {
  const std::string before = Checkpoint(single()).ContentHash();
  WriteFileAtomically(single() / "tokenizer.json", "{}");
  Json config = ReadJsonFile(single() / "config.json");
  Json reordered = {{"transformers_version", "99.0"}, {"_name_or_path", "elsewhere"}};
  const std::vector<std::string> keys = JsonFields(config, "config").Keys();
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) reordered[*key] = config[*key];
  WriteJsonFileAtomically(single() / "config.json", reordered);
  EXPECT_EQ(Checkpoint(single()).ContentHash(), before);
}

TEST_F(CheckpointFolder, QuickHashReadsTheBeginningOfEveryTensor) {
  std::vector<NamedTensor> tensors = ReadTensors(single() / "model.safetensors");
  tensors.push_back({"model.extra", "I8", {8192}, std::string(8192, 'a')});
  WriteTensors(single() / "model.safetensors", tensors);
  const std::string before = Checkpoint(single()).QuickHash();
  tensors.back().bytes[8000] = 'b';
  WriteTensors(single() / "model.safetensors", tensors);
  EXPECT_EQ(Checkpoint(single()).QuickHash(), before);
  tensors.back().bytes[4000] = 'b';
  WriteTensors(single() / "model.safetensors", tensors);
  EXPECT_NE(Checkpoint(single()).QuickHash(), before);
}

TEST_F(CheckpointFolder, ContentHashCoversTypesThatTheRunnerDoesNotRead) {
  std::vector<NamedTensor> tensors = ReadTensors(single() / "model.safetensors");
  tensors.push_back({"model.position_ids", "I64", {1}, "12345678"});
  WriteTensors(single() / "model.safetensors", tensors);
  const std::string before = Checkpoint(single()).ContentHash();
  tensors.back().bytes = "12345679";
  WriteTensors(single() / "model.safetensors", tensors);
  EXPECT_NE(Checkpoint(single()).ContentHash(), before);
}

TEST(ModelName, IsTheDirectorysOwnName) {
  EXPECT_EQ(ModelName("/models/llama-3-8b/"), "llama-3-8b");
  EXPECT_EQ(ModelName("models/llama-3-8b"), "llama-3-8b");
  EXPECT_EQ(ModelName("/models/llama-3-8b/."), "llama-3-8b");
  EXPECT_EQ(ModelName("."), fs::current_path().filename());
}

// Of a file that is written in place; two seconds later, because times are coarse.
void Overwrite(const fs::path& path, size_t size) {
  const auto later = fs::last_write_time(path) + std::chrono::seconds(2);
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-4, std::ios::end);
  file << "\x3f\x3f\x3f\x3f";
  file.close();
  fs::resize_file(path, size);
  fs::last_write_time(path, later);
}

TEST_F(CheckpointFolder, AShardThatIsWrittenWhileItIsReadIsTold) {
  const Checkpoint checkpoint(sharded());
  checkpoint.ContentHash();
  EXPECT_NO_THROW(checkpoint.RequireUnchanged());
  const fs::path shard = sharded() / ShardName(1);
  const auto size = fs::file_size(shard);
  Overwrite(shard, size);
  EXPECT_THAT([&] { checkpoint.RequireUnchanged(); },
              ThrowsMessage<Error>(
                  AllOf(HasSubstr(ShardName(1)), HasSubstr("found that it was written since"))));
  EXPECT_THROW(checkpoint.ContentHash(), Error);
  EXPECT_NO_THROW(Checkpoint(sharded()).ContentHash());
}

TEST_F(CheckpointFolder, AShardThatIsCutWhileItIsReadIsTold) {
  const Checkpoint checkpoint(single());
  checkpoint.ContentHash();
  fs::resize_file(single() / "model.safetensors", 100);
  EXPECT_THAT([&] { checkpoint.ContentHash(); },
              ThrowsMessage<Error>(HasSubstr("found 100 bytes, ")));
}

TEST_F(CheckpointFolder, AnIndexOfAHundredThousandNamesIsRead) {
  Json index = ReadJsonFile(sharded() / kIndex);
  std::string names;
  for (int i = 0; i < 100'000; ++i) {
    names += "\"model.layers.9.mlp.experts." + std::to_string(1'000'000 + i) +
             ".up_proj.weight\":\"" + ShardName(0) + "\",";
  }
  std::string text = index.dump();
  text.insert(text.find("\"model."), names);
  WriteFileAtomically(sharded() / kIndex, text);
  const Checkpoint checkpoint(sharded());
  EXPECT_TRUE(checkpoint.Has("model.layers.9.mlp.experts.1099999.up_proj.weight"));
  EXPECT_THAT([&] { checkpoint.ContentHash(); },
              ThrowsMessage<Error>(HasSubstr("found none in model-0.safetensors")));
}

}  // namespace
}  // namespace kvtune
