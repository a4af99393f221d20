// What a checkpoint's own names, head and context mean for the runner.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "lib/runner/model_probe.h"
#include "tests/io/safetensors_builder.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

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

}  // namespace
}  // namespace kvtune
