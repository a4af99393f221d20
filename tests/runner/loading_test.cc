// What a checkpoint's own names, head and context mean for the runner.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/runner/model_probe.h"
#include "tests/io/safetensors_builder.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const TokenIds kPrompt = {5, 9, 3, 41, 22, 17, 60};

std::vector<float> LogitsOf(const fs::path& model) {
  const Checkpoint checkpoint(model);
  ModelProbe runner(checkpoint, {.device = "cpu"});
  return runner.Logits(kPrompt, PrecisionPlan::Uniform(kExactPair, runner.config().layers.size()));
}

std::vector<NamedTensor> ReadTensors(const fs::path& model) {
  const SafetensorsFile file(model / "model.safetensors");
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

const NamedTensor& Named(const std::vector<NamedTensor>& tensors, const std::string& name) {
  for (const NamedTensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::out_of_range(name);
}

// The weights of `from` in a new folder, with other names or tensors, and its config.json changed.
struct Copy {
  Copy(const fs::path& from, const std::vector<NamedTensor>& tensors, const Json& changes = {}) {
    Json config = ReadJsonFile(from / "config.json");
    for (const auto& [key, value] : changes.items()) config[key] = value;
    WriteJsonFileAtomically(directory.path() / "config.json", config);
    WriteTensors(directory.path() / "model.safetensors", tensors);
  }
  TemporaryDirectory directory;
};

TEST(Loading, AStoredHeadComesBeforeATiedOne) {
  const TemporaryDirectory untied;
  WriteTinyCheckpoint({.tied = false}, untied.path());
  const std::vector<float> expected = LogitsOf(untied.path());
  std::vector<NamedTensor> tensors = ReadTensors(untied.path());
  const Copy called_tied(untied.path(), tensors, {{"tie_word_embeddings", true}});
  EXPECT_EQ(LogitsOf(called_tied.directory.path()), expected);

  // Without it the embedding is the head, and so it is where the head is a copy of it.
  std::erase_if(tensors, [](const NamedTensor& tensor) { return tensor.name == "lm_head.weight"; });
  const Copy without(untied.path(), tensors, {{"tie_word_embeddings", true}});
  const std::vector<float> tied = LogitsOf(without.directory.path());
  EXPECT_NE(tied, expected);
  NamedTensor head = Named(tensors, "model.embed_tokens.weight");
  head.name = "lm_head.weight";
  tensors.push_back(head);
  const Copy with_copy(untied.path(), tensors, {{"tie_word_embeddings", true}});
  EXPECT_EQ(LogitsOf(with_copy.directory.path()), tied);
  // Tying works the other way round too.
  std::erase_if(tensors, [](const NamedTensor& tensor) {
    return tensor.name == "model.embed_tokens.weight";
  });
  const Copy head_alone(untied.path(), tensors, {{"tie_word_embeddings", true}});
  EXPECT_EQ(LogitsOf(head_alone.directory.path()), tied);
}

TEST(Loading, NamesOfOtherPlaces) {
  const TemporaryDirectory plain;
  WriteTinyCheckpoint({.tied = false}, plain.path());
  const std::vector<float> expected = LogitsOf(plain.path());
  const Json text_of_llava = {{"architectures", {"LlavaForConditionalGeneration"}},
                              {"model_type", "llava"}};
  struct Names {
    std::string body, head;
    Json changes;
  };
  for (const Names& names : {Names{"", "", Json::object()},
                             Names{"language_model.model.", "language_model.", text_of_llava},
                             Names{"model.language_model.", "", text_of_llava}}) {
    std::vector<NamedTensor> tensors = ReadTensors(plain.path());
    for (NamedTensor& tensor : tensors) {
      tensor.name = tensor.name.starts_with("model.") ? names.body + tensor.name.substr(6)
                                                      : names.head + tensor.name;
    }
    const Copy copy(plain.path(), tensors, names.changes);
    EXPECT_EQ(LogitsOf(copy.directory.path()), expected) << names.body;
  }
}

// Rotary tables are as long as the prompts: of this context they would take 64 GB.
TEST(Loading, AContextThatNoPromptFillsCostsNothing) {
  const TemporaryDirectory narrow, wide;
  WriteTinyCheckpoint({}, narrow.path());
  WriteTinyCheckpoint({.context = 1'000'000'000}, wide.path());
  EXPECT_EQ(LogitsOf(wide.path()), LogitsOf(narrow.path()));
}

// The tiny model with the first weight of a tensor set to `value`.
fs::path WithWeight(const TemporaryDirectory& directory, const std::string& name, float value) {
  WriteTinyCheckpoint({}, directory.path());
  std::vector<NamedTensor> tensors = ReadTensors(directory.path());
  for (NamedTensor& tensor : tensors) {
    if (tensor.name == name) std::memcpy(tensor.bytes.data(), &value, sizeof value);
  }
  WriteTensors(directory.path() / "model.safetensors", tensors);
  return directory.path();
}

TEST(Loading, AWeightThatIsTooLargeIsNamed) {
  const TemporaryDirectory directory;
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  EXPECT_THAT([&] { LogitsOf(WithWeight(directory, name, -3e38f)); },
              ThrowsMessage<Error>(HasSubstr("tensor " + name +
                                             ": found 3e+38, expected finite "
                                             "weights of at most 1e+15")));
  EXPECT_THAT([&] { LogitsOf(WithWeight(directory, name, std::nanf(""))); },
              ThrowsMessage<Error>(HasSubstr("tensor " + name + ": found NaN or infinity")));
}

// Weights that are finite one by one may still overflow together.
TEST(Loading, ALayerWhoseStatesAreNotFiniteIsNamed) {
  const TemporaryDirectory directory;
  WriteTinyCheckpoint({.layers = 4}, directory.path());
  std::vector<NamedTensor> tensors = ReadTensors(directory.path());
  for (NamedTensor& tensor : tensors) {
    if (tensor.name.find("layers.2.mlp.") == std::string::npos) continue;
    std::vector<float> huge(tensor.bytes.size() / sizeof(float));
    // Rows of both signs, so that some gate is open whatever the states.
    for (size_t i = 0; i < huge.size(); ++i) huge[i] = i / 32 % 2 == 0 ? 9e14f : -9e14f;
    std::memcpy(tensor.bytes.data(), huge.data(), tensor.bytes.size());
  }
  WriteTensors(directory.path() / "model.safetensors", tensors);
  const Checkpoint checkpoint(directory.path());
  for (const WeightMode mode : {WeightMode::kResident, WeightMode::kStream}) {
    ModelRunner runner(checkpoint, {.device = "cpu", .weights = mode});
    EXPECT_THAT([&] { runner.NoiseFloor(std::span(&kPrompt, 1)); },
                ThrowsMessage<Error>(HasSubstr(
                    "running the exact model: layer 2: found NaN or infinity behind it")));
  }
}

// A streamed model of six layers, whose file another program changes in the middle of a pass: two
// prompts have gone through three layers when the first progress comes.
struct ChangingModel {
  ChangingModel() {
    WriteTinyCheckpoint({.layers = 6}, directory.path());
    checkpoint.emplace(directory.path());
    runner.emplace(*checkpoint, ModelOptions{.device = "cpu", .weights = WeightMode::kStream});
  }

  void Score(const std::function<void()>& change) {
    const std::vector<TokenIds> prompts = {kPrompt, {7, 7, 9, 1, 30}};
    const PrecisionPlan plan = PrecisionPlan::Uniform({KvFormatId::kInt8, KvFormatId::kInt8}, 6);
    bool changed = false;
    runner->ScorePlans(std::span(&plan, 1), prompts, [&](int64_t) {
      if (!std::exchange(changed, true)) change();
    });
    EXPECT_TRUE(changed);
  }

  fs::path weights() const { return directory.path() / "model.safetensors"; }

  TemporaryDirectory directory;
  std::optional<Checkpoint> checkpoint;
  std::optional<ModelRunner> runner;
};

TEST(Streaming, AFileThatIsOverwrittenInAPassIsAnError) {
  ChangingModel model;
  model.Score([] {});
  EXPECT_THAT(
      [&] {
        model.Score([&] {
          const auto later = fs::last_write_time(model.weights()) + std::chrono::seconds(2);
          const auto size = static_cast<std::streamoff>(fs::file_size(model.weights()));
          std::fstream file(model.weights(), std::ios::in | std::ios::out | std::ios::binary);
          file.seekp(size / 2);
          file << std::string(static_cast<size_t>(size - size / 2), '\x3e');
          file.close();
          fs::last_write_time(model.weights(), later);
        });
      },
      ThrowsMessage<Error>(HasSubstr("model.safetensors: found that it was written since")));
}

TEST(Streaming, AFileThatIsCutInAPassIsAnError) {
  ChangingModel model;
  model.Score([] {});
  EXPECT_THAT([&] { model.Score([&] { fs::resize_file(model.weights(), 4096); }); },
              ThrowsMessage<Error>(AllOf(HasSubstr("model.safetensors: found 4096 bytes, "),
                                         HasSubstr("when it was opened"))));
  // The next pass says so too.
  EXPECT_THROW(model.Score([] {}), Error);
}

}  // namespace
}  // namespace kvtune
