#include "lib/calib/prompt_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/tokenizer/tokenizer.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;

using ::testing::_;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;
using ::testing::UnorderedElementsAreArray;

const fs::path kBundled = fs::path(KVTUNE_SOURCE_DIR) / "calib_data";

class PromptSets : public ::testing::Test {
 protected:
  PromptSets() {
    ::unsetenv("KVTUNE_DATA_DIR");
    config_.vocab_size = 640;
    config_.max_position_embeddings = 2048;
  }

  ~PromptSets() override { ::unsetenv("KVTUNE_DATA_DIR"); }

  fs::path Write(const std::string& name, std::string_view content) const {
    WriteFileAtomically(directory_ / name, content);
    return directory_ / name;
  }

  // Ten prompts of ten tokens; the first token says which.
  fs::path WriteTens() const {
    std::string content;
    for (int prompt = 0; prompt < 10; ++prompt) {
      content +=
          "{\"input_ids\": [" + std::to_string(prompt) + ", 11, 12, 13, 14, 15, 16, 17, 18, 19]}\n";
    }
    return Write("tens.jsonl", content);
  }

  // The model folder that is given has a tokenizer, and no more than that is needed.
  PromptSet Load(const PromptOptions& options, uint64_t seed = 0) const {
    return LoadPromptSet(options, BundledSet::kCalibration, seed, kBundled / "demo_model", config_);
  }

  auto Loading(const PromptOptions& options) const {
    return [this, options] { Load(options); };
  }

  const fs::path& directory() const { return directory_.path(); }

  ModelConfig config_;

 private:
  TemporaryDirectory directory_;
};

TEST_F(PromptSets, TakesAllPromptsUnlessTold) {
  const PromptSet set = Load({.files = {WriteTens()}});
  EXPECT_THAT(set.prompts, SizeIs(10));
  EXPECT_EQ(set.token_count, 100);
  EXPECT_THAT(set.sources, ElementsAre((directory() / "tens.jsonl").string()));
}

TEST_F(PromptSets, MaxPromptsChoosesSome) {
  const fs::path file = WriteTens();
  const PromptSet three = Load({.files = {file}, .max_prompts = 3});
  EXPECT_THAT(three.prompts, SizeIs(3));
  EXPECT_EQ(three.token_count, 30);
  // The first three of the same shuffle.
  const PromptSet all = Load({.files = {file}});
  EXPECT_TRUE(std::equal(three.prompts.begin(), three.prompts.end(), all.prompts.begin()));
  EXPECT_THAT(Load({.files = {file}, .max_prompts = 99}).prompts, SizeIs(10));
}

TEST_F(PromptSets, MaxTokensCutsTheLastPrompt) {
  const fs::path file = WriteTens();
  const PromptSet cut = Load({.files = {file}, .max_tokens = 25});
  EXPECT_THAT(cut.prompts, ElementsAre(SizeIs(10), SizeIs(10), SizeIs(5)));
  EXPECT_EQ(cut.token_count, 25);
  // A single token predicts nothing: room for one is left empty.
  EXPECT_THAT(Load({.files = {file}, .max_tokens = 21}).prompts, SizeIs(2));
  EXPECT_THAT(Load({.files = {file}, .max_tokens = 22}).prompts,
              ElementsAre(SizeIs(10), SizeIs(10), SizeIs(2)));
  EXPECT_THAT(Load({.files = {file}, .max_prompts = 1, .max_tokens = 25}).prompts, SizeIs(1));
  EXPECT_THAT(Loading({.files = {file}, .max_tokens = 1}),
              ThrowsMessage<Error>(HasSubstr("choosing prompts: found room for none with "
                                             "--max-prompts 0 and --max-tokens 1")));
}

TEST_F(PromptSets, TheSeedIsTheOrder) {
  const fs::path file = WriteTens();
  const PromptSet one = Load({.files = {file}}, 1);
  const PromptSet again = Load({.files = {file}}, 1);
  const PromptSet other = Load({.files = {file}}, 2);
  EXPECT_EQ(one.prompts, again.prompts);
  EXPECT_EQ(one.hash, again.hash);
  EXPECT_NE(one.prompts, other.prompts);
  EXPECT_NE(one.hash, other.hash);
  EXPECT_THAT(other.prompts, UnorderedElementsAreArray(one.prompts));
}

TEST_F(PromptSets, TheHashDependsOnTheIdsOnly) {
  const auto hash_of = [&](const std::vector<fs::path>& files) {
    return Load({.files = files}).hash;
  };
  const std::string hash =
      hash_of({Write("a.jsonl", "{\"input_ids\": [1, 2, 3]}\n{\"input_ids\": [4, 5]}")});
  EXPECT_EQ(hash, hash_of({Write("b.jsonl", "{\"input_ids\": [1, 2, 3], \"kind\": \"chat\"}\n"),
                           Write("c.jsonl", "\n{\"input_ids\": [4, 5]}\n")}));
  // Where a prompt ends matters.
  EXPECT_NE(hash,
            hash_of({Write("d.jsonl", "{\"input_ids\": [1, 2]}\n{\"input_ids\": [3, 4, 5]}")}));
  EXPECT_NE(hash,
            hash_of({Write("e.jsonl", "{\"input_ids\": [1, 2, 3]}\n{\"input_ids\": [4, 6]}")}));

  const Tokenizer tokenizer = Tokenizer::FromFile(kBundled / "demo_model" / "tokenizer.json");
  std::string ids;
  for (const int32_t id : tokenizer.Encode("Mia owns 3 pens.", SpecialTokens::kAdd)) {
    ids += (ids.empty() ? "" : ", ") + std::to_string(id);
  }
  EXPECT_EQ(hash_of({Write("f.txt", "Mia owns 3 pens.")}),
            hash_of({Write("g.jsonl", "{\"input_ids\": [" + ids + "]}")}));
}

TEST_F(PromptSets, PromptsThatTheModelCannotReadAreRefusedWithTheirLine) {
  config_.max_position_embeddings = 4;
  EXPECT_THAT(
      Loading({.files = {Write("p.jsonl",
                               "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, 2, 3, 4, 5]}")}}),
      ThrowsMessage<Error>(HasSubstr("p.jsonl, line 2: found a prompt of 5 tokens, expected at "
                                     "most the model's context of 4")));
  EXPECT_THAT(Load({.files = {Write("p.jsonl", "{\"input_ids\": [1, 2, 3, 639]}")}}).prompts,
              SizeIs(1));
  EXPECT_THAT(
      Loading({.files = {Write("p.jsonl", "{\"input_ids\": [1, 640]}")}}),
      ThrowsMessage<Error>(HasSubstr("line 1: found the token id 640, expected 0 to 639 as in "
                                     "the model's vocabulary")));
  EXPECT_THAT(
      Loading({.files = {Write("p.jsonl", "{\"input_ids\": [1]}")}}),
      ThrowsMessage<Error>(HasSubstr("line 1: found a prompt of 1 tokens, expected at least 2")));
  EXPECT_THAT(
      Loading({.files = {Write("p.jsonl", "{\"text\": \"\"}")}}),
      ThrowsMessage<Error>(HasSubstr("line 1: found a prompt of 0 tokens, expected at least 2")));
}

TEST_F(PromptSets, LongPromptsAreCutWhenAskedFor) {
  config_.max_position_embeddings = 4;
  const PromptSet set = Load({.files = {WriteTens()}, .long_prompts = LongPrompts::kCut});
  EXPECT_THAT(set.prompts, SizeIs(10));
  EXPECT_THAT(set.prompts, Each(ElementsAre(_, 11, 12, 13)));
  EXPECT_EQ(set.token_count, 40);
}

TEST_F(PromptSets, BundledPromptsAreCutToTheContext) {
  config_.max_position_embeddings = 64;
  const PromptSet set = Load({});
  EXPECT_THAT(set.prompts, Each(SizeIs(Le(64))));
}

TEST_F(PromptSets, CountAndHashSeeTheChosenPromptsOnly) {
  const fs::path file = WriteTens();
  PromptSet set = Load({.files = {file}});
  set.prompts.resize(3);
  CountAndHash(set);
  const PromptSet three = Load({.files = {file}, .max_prompts = 3});
  EXPECT_EQ(set.hash, three.hash);
  EXPECT_EQ(set.token_count, three.token_count);
}

TEST_F(PromptSets, PlainTextIsCutIntoWindows) {
  // The demo model's tokenizer, with a token in front of every text and one behind it.
  Json json = ReadJsonFile(kBundled / "demo_model" / "tokenizer.json");
  const Json special = {{"SpecialToken", {{"id", "x"}, {"type_id", 0}}}};
  const Json text_itself = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", {special, text_itself, special}},
      {"pair", Json::array()},
      {"special_tokens", {{"x", {{"id", "x"}, {"ids", {7}}, {"tokens", {"x"}}}}}}};
  const fs::path tokenizer_json = Write("tokenizer.json", json.dump());
  std::string text;
  for (int i = 0; i < 600; ++i) text += "Mia owns " + std::to_string(i) + " pens. ";
  const fs::path file = Write("p.txt", text);
  const TokenIds inner = Tokenizer::FromFile(tokenizer_json).Encode(text, SpecialTokens::kOmit);

  for (const auto& [context, size] : {std::pair(2048, 512), std::pair(100, 100)}) {
    config_.max_position_embeddings = context;
    std::vector<TokenIds> expected;
    const auto step = static_cast<size_t>(size - 2);
    for (size_t start = 0; start < inner.size(); start += step) {
      TokenIds window = {7};
      for (size_t i = start; i < std::min(inner.size(), start + step); ++i)
        window.push_back(inner[i]);
      window.push_back(7);
      expected.push_back(window);
    }
    const auto load = [&](const PromptOptions& options) {
      return LoadPromptSet(options, BundledSet::kCalibration, 0, directory(), config_);
    };
    const PromptSet set = load({.files = {file}});
    EXPECT_THAT(set.prompts, UnorderedElementsAreArray(expected));
    EXPECT_EQ(set.available_count, static_cast<int64_t>(expected.size()));
    const PromptSet three = load({.files = {file}, .max_prompts = 3});
    EXPECT_THAT(three.prompts, SizeIs(3));
    EXPECT_EQ(three.available_count, set.available_count);
  }
}

TEST_F(PromptSets, AShortTextIsOnePrompt) {
  EXPECT_THAT(Load({.files = {Write("p.txt", "Mia owns 3 pens.")}}).prompts, SizeIs(1));
}

TEST_F(PromptSets, AVocabularyThatTheEmbeddingDoesNotHoldIsRefused) {
  config_.vocab_size = 600;
  EXPECT_THAT(Loading({.files = {Write("p.txt", "some text")}}),
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("tokenizer.json: found a vocabulary of "),
                        HasSubstr("expected at most the 600 that the model's embedding has"))));
}

TEST_F(PromptSets, OnlyTextsNeedATokenizer) {
  const auto load_without_tokenizer = [&](const fs::path& file) {
    return LoadPromptSet({.files = {file}}, BundledSet::kCalibration, 0, directory(), config_);
  };
  EXPECT_THAT(load_without_tokenizer(WriteTens()).prompts, SizeIs(10));
  EXPECT_THAT([&] { load_without_tokenizer(Write("p.txt", "some text")); },
              ThrowsMessage<Error>(HasSubstr((directory() / "tokenizer.json").string())));
}

TEST_F(PromptSets, TextsThatAreNotUtf8NameTheirFile) {
  EXPECT_THAT(Loading({.files = {Write("p.txt", "ab\xff")}}),
              ThrowsMessage<Error>(AllOf(HasSubstr("p.txt: "), HasSubstr("UTF-8"))));
}

TEST_F(PromptSets, BundledPromptsAreLookedForInTheDataDirectoryFirst) {
  Write("calibration.jsonl", "{\"input_ids\": [7, 8, 9]}");
  ::setenv("KVTUNE_DATA_DIR", directory().c_str(), 1);
  EXPECT_EQ(BundledPromptFile(BundledSet::kCalibration), directory() / "calibration.jsonl");
  // What the directory does not have comes from the folder of the program.
  EXPECT_TRUE(fs::equivalent(BundledPromptFile(BundledSet::kHeldOut), kBundled / "held_out.jsonl"));
  const PromptSet set = Load({});
  EXPECT_THAT(set.prompts, ElementsAre(ElementsAre(7, 8, 9)));
  EXPECT_THAT(set.sources, ElementsAre("bundled"));
}

TEST_F(PromptSets, BundledSetsShareNoPrompt) {
  const fs::path model = kBundled / "demo_model";
  const ModelConfig config = ReadModelConfig(model / "config.json");
  const PromptSet calibration =
      LoadPromptSet({.files = {}, .max_tokens = 0}, BundledSet::kCalibration, 0, model, config);
  const PromptSet held_out =
      LoadPromptSet({.files = {}, .max_tokens = 0}, BundledSet::kHeldOut, 0, model, config);
  std::set<TokenIds> distinct(calibration.prompts.begin(), calibration.prompts.end());
  distinct.insert(held_out.prompts.begin(), held_out.prompts.end());
  EXPECT_EQ(distinct.size(), calibration.prompts.size() + held_out.prompts.size());
  EXPECT_NE(calibration.hash, held_out.hash);
}

}  // namespace
}  // namespace kvtune
