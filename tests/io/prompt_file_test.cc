#include "lib/io/prompt_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

class PromptFiles : public ::testing::Test {
 protected:
  std::vector<RawPrompt> Read(const std::string& name, std::string_view content) const {
    WriteFileAtomically(directory_ / name, content);
    return ReadPromptFile(directory_ / name, "models/my model");
  }

  auto Reading(const std::string& name, std::string_view content) const {
    return [this, name, content = std::string(content)] { Read(name, content); };
  }

 private:
  TemporaryDirectory directory_;
};

TEST_F(PromptFiles, ReadsTextsAndTokenIds) {
  const auto prompts = Read("p.jsonl", R"({"text": "first\nline", "kind": "chat"}
{"input_ids": [3, 1, 2147483647], "text": "ids win"}
{"text": ""})");
  ASSERT_THAT(prompts, SizeIs(3));
  EXPECT_EQ(prompts[0].text, "first\nline");
  EXPECT_FALSE(prompts[0].is_document);
  EXPECT_THAT(prompts[0].token_ids, IsEmpty());
  EXPECT_THAT(prompts[0].where, EndsWith("p.jsonl, line 1"));
  EXPECT_THAT(prompts[1].token_ids, ElementsAre(3, 1, 2147483647));
  EXPECT_EQ(prompts[2].text, "");
}

TEST_F(PromptFiles, BlankLinesAreSkippedButCounted) {
  const auto prompts = Read("p.jsonl", "\n{\"text\": \"a\"}\r\n  \t\r\n\n{\"text\": \"b\"}\n");
  ASSERT_THAT(prompts, SizeIs(2));
  EXPECT_THAT(prompts[0].where, EndsWith("line 2"));
  EXPECT_THAT(prompts[1].where, EndsWith("line 5"));
}

TEST_F(PromptFiles, AnyOtherFileIsOneDocument) {
  const auto prompts = Read("p.txt", "two\nlines, {\"text\": 1}\n");
  ASSERT_THAT(prompts, SizeIs(1));
  EXPECT_EQ(prompts[0].text, "two\nlines, {\"text\": 1}\n");
  EXPECT_THAT(prompts[0].where, EndsWith("p.txt"));
  EXPECT_TRUE(prompts[0].is_document);
}

TEST_F(PromptFiles, LinesWithoutAPromptNameWhatTheyHave) {
  EXPECT_THAT(
      Reading("p.jsonl", "{\"text\": \"a\"}\n{\"title\": \"b\", \"body\": \"c\"}"),
      ThrowsMessage<Error>(HasSubstr(
          "p.jsonl, line 2: found the keys title, body, expected \"text\" or \"input_ids\"")));
  EXPECT_THAT(Reading("p.jsonl", "{}"),
              ThrowsMessage<Error>(HasSubstr("line 1: found no keys, expected \"text\"")));
}

TEST_F(PromptFiles, TextsMayHoldTheirSpecialTokens) {
  const auto prompts = Read("p.jsonl", R"({"text": "a", "add_special_tokens": false}
{"text": "b", "add_special_tokens": true}
{"text": "c"})");
  EXPECT_TRUE(prompts[0].has_special_tokens);
  EXPECT_FALSE(prompts[1].has_special_tokens);
  EXPECT_FALSE(prompts[2].has_special_tokens);
}

TEST_F(PromptFiles, MistakesNameTheirLine) {
  EXPECT_THAT(Reading("p.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\""),
              ThrowsMessage<Error>(HasSubstr("p.jsonl, line 3: not valid JSON at column ")));
  EXPECT_THAT(Reading("p.jsonl", "[1, 2]"),
              ThrowsMessage<Error>(HasSubstr("found 1, expected a JSON object")));
  EXPECT_THAT(Reading("p.jsonl", "{\"text\": 5}"),
              ThrowsMessage<Error>(HasSubstr("line 1: \"text\": found 5, expected a string")));
  EXPECT_THAT(Reading("p.jsonl", "{\"text\": \"a\", \"text\": \"b\"}"),
              ThrowsMessage<Error>(HasSubstr("line 1: found the key \"text\" twice")));
  EXPECT_THAT(Reading("p.jsonl", "{\"text\": \"\xff\"}"),
              ThrowsMessage<Error>(
                  HasSubstr("p.jsonl, line 1: not valid JSON at column 11: invalid string: "
                            "ill-formed UTF-8 byte")));
}

TEST_F(PromptFiles, JsonIsReadUnderEverySuffixAndAsAnArray) {
  const std::string lines = "\xef\xbb\xbf{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
  for (const char* name : {"p.json", "p.ndjson", "p.jsonlines", "p.JSONL"}) {
    for (const std::string& content : {lines, std::string(R"([{"text": "a"}, {"text": "b"}])"),
                                       std::string("[\n {\"text\": \"a\"},\n \"b\"\n]\n")}) {
      const auto prompts = Read(name, content);
      ASSERT_THAT(prompts, SizeIs(2)) << name;
      EXPECT_EQ(prompts[0].text, "a");
      EXPECT_EQ(prompts[1].text, "b");
    }
  }
  for (const std::string& content : {lines, std::string("[{\"text\": \"a\"}]")}) {
    EXPECT_THAT(
        Reading("p.txt", content),
        ThrowsMessage<Error>(HasSubstr("found JSON, expected text: name the file p.jsonl")));
  }
  EXPECT_EQ(Read("p.txt", "\xef\xbb\xbfprose")[0].text, "prose");
}

TEST_F(PromptFiles, KnownDataSetsAreReadByTheirKeys) {
  EXPECT_EQ(Read("p.jsonl", R"({"question": "q", "answer": "a"})")[0].text,
            "Question: q\nAnswer: a");
  EXPECT_EQ(Read("p.jsonl", R"({"turns": ["q", "r"]})")[0].text, "q\n\nr");
  EXPECT_EQ(Read("p.jsonl", R"({"input": "i", "outputs": ["1", "2"]})")[0].text, "i 1\n\n2");
  EXPECT_EQ(Read("p.jsonl", R"({"context": "c", "input": "i", "answers": ["x"]})")[0].text,
            "c\n\ni\nx");
  EXPECT_EQ(Read("p.jsonl", R"({"prompt": "def f():", "canonical_solution": " pass"})")[0].text,
            "def f(): pass");
}

TEST_F(PromptFiles, CausesAreNamed) {
  EXPECT_THAT(Reading("p.jsonl", R"({"text": null})"),
              ThrowsMessage<Error>(HasSubstr("\"text\": found null, expected a string")));
  EXPECT_THAT(Reading("p.jsonl", R"({"text": NaN})"),
              ThrowsMessage<Error>(HasSubstr("found NaN, which JSON does not have")));
  EXPECT_THAT(Reading("p.jsonl", R"({"text": "\ud800"})"),
              ThrowsMessage<Error>(HasSubstr("surrogate")));
  EXPECT_THAT(Reading("p.jsonl", "{\"text\": \"a\"}\n[1]"),
              ThrowsMessage<Error>(HasSubstr("line 2: found an array, expected an object")));
  EXPECT_THAT(Reading("p.parquet", "PAR1..."), ThrowsMessage<Error>(HasSubstr("read_parquet")));
  EXPECT_THAT(Reading("p.jsonl.zst", "\x28\xb5\x2f\xfd"),
              ThrowsMessage<Error>(HasSubstr("found an early end, expected a whole zstd file")));
}

TEST_F(PromptFiles, TokenIdsHaveToBeIds) {
  EXPECT_NO_THROW(Reading("p.jsonl", "{\"input_ids\": [0, 2147483647]}")());
  EXPECT_THAT(Reading("p.jsonl", "{\"input_ids\": [1, -2]}"),
              ThrowsMessage<Error>(HasSubstr("\"input_ids\": found -2, expected token ids")));
  EXPECT_THAT(Reading("p.jsonl", "{\"input_ids\": [2147483648]}"),
              ThrowsMessage<Error>(HasSubstr("found 2147483648, expected token ids")));
  EXPECT_THAT(Reading("p.jsonl", "{\"input_ids\": []}"),
              ThrowsMessage<Error>(HasSubstr("found an empty array, expected token ids")));
  EXPECT_THAT(Reading("p.jsonl", "{\"input_ids\": \"1 2\"}"),
              ThrowsMessage<Error>(HasSubstr("found \"1 2\", expected an array of integers")));
}

TEST_F(PromptFiles, FilesWithoutPromptsAreRefused) {
  for (const char* content : {"", "\n", " \t\r\n \n"}) {
    EXPECT_THAT(Reading("p.jsonl", content),
                ThrowsMessage<Error>(
                    AllOf(HasSubstr("reading prompts from "), HasSubstr("p.jsonl: found none"))));
    EXPECT_THAT(Reading("p.txt", content),
                ThrowsMessage<Error>(HasSubstr("p.txt: found none, expected at least one")));
  }
  EXPECT_THAT([] { ReadPromptFile("/nowhere/p.jsonl", "m"); },
              ThrowsMessage<Error>(HasSubstr("reading /nowhere/p.jsonl: No such file")));
}

}  // namespace
}  // namespace kvtune
