// Prompts in other forms: joined by a template, compressed, or in a container that is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/io/prompt_file.h"
#include "tests/io/gzip_builder.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StrEq;
using ::testing::ThrowsMessage;

class PromptForms : public ::testing::Test {
 protected:
  std::vector<RawPrompt> Read(const std::string& name, std::string_view content,
                              const std::string& prompt_template = "") const {
    WriteFileAtomically(folder_ / name, content);
    return ReadPromptFile(folder_ / name, "models/small", prompt_template);
  }
  auto Reading(const std::string& name, std::string_view content,
               const std::string& prompt_template = "") const {
    return [this, name, content = std::string(content), prompt_template] {
      Read(name, content, prompt_template);
    };
  }
  std::string Filled(const std::string& record, const std::string& prompt_template) const {
    return Read("p.jsonl", record, prompt_template).at(0).text;
  }

 private:
  TemporaryDirectory folder_;
};

TEST_F(PromptForms, ATemplateJoinsKeysAndText) {
  const std::string record = R"({"a": "x", "b": "y", "n": 1.5, "t": true, "l": ["1", "2"]})";
  EXPECT_EQ(Filled(record, "{a}"), "x");
  EXPECT_EQ(Filled(record, "Q: {a} A: {b}."), "Q: x A: y.");
  EXPECT_EQ(Filled(record, "{a}{b}{a}"), "xyx");
  EXPECT_EQ(Filled(record, "{n} {t}"), "1.5 true");
  EXPECT_EQ(Filled(record, "{l}"), "1\n\n2");
  // What a shell passes on for a line's end, also twice.
  EXPECT_EQ(Filled(record, "{a}\\n\\n{b}\\n"), "x\n\ny\n");
}

TEST_F(PromptForms, BracesThatNameNoKeyAreText) {
  const std::string record = R"({"a": "x"})";
  EXPECT_EQ(Filled(record, "{{a}} {a}"), "{a} x");
  EXPECT_EQ(Filled(record, "}}{a}{{"), "}x{");
  EXPECT_EQ(Filled(record, "{} {a} } {"), "{} x } {");
  EXPECT_EQ(Filled(record, "{a} {a"), "x {a");
  EXPECT_EQ(Filled(record, "{\n} {a}"), "{\n} x");
}

TEST_F(PromptForms, ATemplateWithoutAKeyIsRefused) {
  for (const char* none : {"text", "{{a}}", "{}", "{a"}) {
    EXPECT_THAT(
        Reading("p.jsonl", "{}", none),
        ThrowsMessage<Error>(StrEq("--prompt-template: found no key in \"" + std::string(none) +
                                   "\", expected one in braces such as {question}")));
  }
}

TEST_F(PromptForms, KeysOfATemplateHaveToBeThereAndTexts) {
  EXPECT_THAT(Reading("p.jsonl", R"({"a": "x", "c": 1})", "{a} {b}"),
              ThrowsMessage<Error>(HasSubstr("line 1: found the keys a, c, expected \"b\" as "
                                             "--prompt-template names it")));
  for (const auto& [value, type] :
       {std::pair{R"({"b": 1})", "object"}, {R"(["x", 1])", "array"}, {"null", "null"}}) {
    EXPECT_THAT(Reading("p.jsonl", std::string(R"({"a": )") + value + "}", "{a}"),
                ThrowsMessage<Error>(HasSubstr(std::string("\"a\": found ") + type +
                                               ", expected a text or a list of texts")));
  }
  EXPECT_THAT(Reading("p.txt", "prose", "{a}"),
              ThrowsMessage<Error>(HasSubstr("found plain text, expected JSON with the keys")));
}

TEST_F(PromptForms, ATemplateComesBeforeTextAndTokenIds) {
  const std::string record = R"({"input_ids": [0, 7], "text": "t", "a": "x"})";
  EXPECT_EQ(Read("p.jsonl", record).at(0).token_ids, (std::vector<int32_t>{0, 7}));
  EXPECT_EQ(Read("p.jsonl", record).at(0).text, "");
  EXPECT_EQ(Filled(record, "{a}"), "x");
  EXPECT_EQ(Filled(R"({"text": "t", "question": "q", "answer": "a"})", ""), "t");
}

TEST_F(PromptForms, ARecordHasTheFirstShapeWhoseKeysItAllHas) {
  EXPECT_EQ(Filled(R"({"input": "i", "answer_prefix": "so", "outputs": ["1", "2"]})", ""),
            "iso 1\n\n2");
  EXPECT_EQ(Filled(R"({"input": "i", "outputs": ["1"]})", ""), "i 1");
  EXPECT_EQ(Filled(R"({"question": "q", "answer": "a", "turns": ["t"]})", ""),
            "Question: q\nAnswer: a");
  EXPECT_EQ(Filled(R"({"turns": 5.5, "x": 1})", ""), "5.5");
}

TEST_F(PromptForms, OtherContainersNameTheCommandThatConvertsThem) {
  EXPECT_THAT(Reading("p.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:0"),
              ThrowsMessage<Error>(HasSubstr("found a Git LFS pointer, expected JSON lines or "
                                             "text: git lfs pull fetches the file itself")));
  for (const std::string_view mark : {"\xff\xfe", "\xfe\xff"}) {
    EXPECT_THAT(Reading("p.txt", mark),
                ThrowsMessage<Error>(AllOf(HasSubstr("found UTF-16, expected JSON lines or text"),
                                           HasSubstr("iconv -f UTF-16 -t UTF-8 "))));
  }
  EXPECT_THAT(Reading("p.txt", "PAR1"),
              ThrowsMessage<Error>(AllOf(HasSubstr("found a Parquet file"),
                                         HasSubstr("p.txt').to_json('"), HasSubstr("p.jsonl'"))));
}

TEST_F(PromptForms, TextThatLooksLikeJsonIsTextUnlessItIsJson) {
  for (const char* text : {"{ braces }", "[1] a footnote", "{\"a\": 1} and prose", "[1, 2, 3]",
                           "{\"a\": 1}\nprose", "{", "[\"a\""}) {
    EXPECT_EQ(Read("p.txt", text).at(0).text, text);
  }
  for (const char* json : {"{\"text\": \"a\"}", "  {\"text\": \"a\"}\n\n{\"text\": \"b\"}",
                           "{\n\"text\": \"a\"\n}", "[\"a\"]", "[[1]]", "[\n{}\n]"}) {
    EXPECT_THAT(Reading("p.txt", json), ThrowsMessage<Error>(HasSubstr("found JSON"))) << json;
  }
}

TEST_F(PromptForms, EntriesOfAnArrayAreCounted) {
  EXPECT_THAT(Read("p.json", "{\n \"text\": \"a\"\n}\n"), SizeIs(1));
  const auto prompts = Read("p.json", R"(["a", {"text": "b"}])");
  ASSERT_THAT(prompts, SizeIs(2));
  EXPECT_THAT(prompts[0].where, EndsWith("p.json, entry 1"));
  EXPECT_FALSE(prompts[0].is_document);
  EXPECT_THAT(prompts[1].where, EndsWith("p.json, entry 2"));
  EXPECT_THAT(Reading("p.json", R"(["a", {"title": "b"}])"),
              ThrowsMessage<Error>(HasSubstr("p.json, entry 2: found the keys title")));
}

// Letters of which gzip saves little.
std::string Noise(size_t size) {
  Random random(5);
  std::string text;
  for (size_t i = 0; i < size; ++i) text += static_cast<char>('a' + random.Below(26));
  return text;
}

// The output goes through blocks of 65536 bytes.
TEST_F(PromptForms, CompressedTextsAroundABlockAreReadWhole) {
  for (const size_t size : {1, 65535, 65536, 65537, 131072, 200000}) {
    for (const std::string& text : {std::string(size, 'a'), Noise(size)}) {
      EXPECT_EQ(Read("p.txt.gz", Gzipped(text)).at(0).text, text) << size;
    }
  }
}

// As `cat a.gz b.gz` makes them.
TEST_F(PromptForms, MembersOfACompressedFileFollowEachOther) {
  EXPECT_EQ(Read("p.txt.gz", Gzipped("one\n") + Gzipped("") + Gzipped("two\n")).at(0).text,
            "one\ntwo\n");
  EXPECT_THAT(Read("p.jsonl.gz", Gzipped("{\"text\": \"a\"}\n") + Gzipped("{\"text\": \"b\"}")),
              SizeIs(2));
}

TEST_F(PromptForms, ACutFileIsNoWholeOne) {
  const std::string whole = Gzipped("one\n") + Gzipped(Noise(100));
  for (size_t size = 2; size < whole.size(); ++size) {
    if (size == Gzipped("one\n").size()) continue;  // a whole member
    EXPECT_THROW(Read("p.txt.gz", whole.substr(0, size)), Error) << "cut to " << size << " bytes";
  }
  EXPECT_THAT(Reading("p.txt.gz", whole.substr(0, whole.size() - 1)),
              ThrowsMessage<Error>(HasSubstr("found an early end, expected a whole gzip file")));
}

TEST_F(PromptForms, DamagedAndOtherBytesOfACompressedFileAreNamed) {
  std::string damaged = Gzipped(Noise(100));
  damaged[damaged.size() - 5] ^= 1;  // of the checksum
  EXPECT_THAT(Reading("p.txt.gz", damaged),
              ThrowsMessage<Error>(HasSubstr("found damaged data, expected a whole gzip file")));
  EXPECT_THAT(Reading("p.txt.gz", Gzipped("a") + "more"),
              ThrowsMessage<Error>(HasSubstr("found other bytes behind its end")));
}

}  // namespace
}  // namespace kvtune
