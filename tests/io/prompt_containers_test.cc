// Random prompts read the same from every container.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/base/random.h"
#include "lib/io/compression.h"
#include "lib/io/prompt_file.h"
#include "tests/io/gzip_builder.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

std::string Zstandard(std::string_view text) {
  std::string bytes(ZSTD_compressBound(text.size()), '\0');
  const size_t size = ZSTD_compress(bytes.data(), bytes.size(), text.data(), text.size(), 3);
  EXPECT_EQ(ZSTD_isError(size), 0U);
  bytes.resize(size);
  return bytes;
}

// As two members, or two frames, one behind the other.
std::string InHalves(std::string (*compress)(std::string_view), std::string_view text) {
  return compress(text.substr(0, text.size() / 2)) + compress(text.substr(text.size() / 2));
}

std::string RandomText(Random& random) {
  constexpr const char* kPieces[] = {"a",
                                     " ",
                                     "\n",
                                     "{",
                                     "}",
                                     "[",
                                     "]",
                                     "\"",
                                     "\\",
                                     ",",
                                     ":",
                                     "ü",
                                     "漢",
                                     "👍",
                                     "\r\n",
                                     "\t",
                                     "{\"text\": 1}",
                                     "0",
                                     "#"};
  std::string text;
  for (uint64_t i = random.Below(12); i > 0; --i) text += kPieces[random.Below(std::size(kPieces))];
  return text;
}

Json RandomRecord(Random& random) {
  Json record = Json::object();
  if (random.Below(3) == 0) record["other"] = {{"text", RandomText(random)}};
  if (random.Below(4) == 0) {
    for (uint64_t i = 1 + random.Below(5); i > 0; --i) {
      record["input_ids"].push_back(random.Below(1000));
    }
  } else {
    record["text"] = RandomText(random);
  }
  return record;
}

struct Container {
  const char* name;
  std::function<std::string(const Json& records)> write;
};

std::string Lines(const Json& records, const char* end) {
  std::string lines;
  for (const Json& record : records) lines += record.dump() + end;
  return lines;
}

const Container kContainers[] = {
    {"p.ndjson", [](const Json& r) { return Lines(r, "\n"); }},
    {"p.jsonlines", [](const Json& r) { return Lines(r, "\r\n"); }},
    {"p.JSONL", [](const Json& r) { return "\n \n" + Lines(r, "\n\n"); }},
    {"p.json", [](const Json& r) { return Lines(r, "\n"); }},
    {"q.json", [](const Json& r) { return r.dump(); }},
    {"q.jsonl", [](const Json& r) { return "\xef\xbb\xbf" + r.dump(2); }},
    {"r.jsonl", [](const Json& r) { return "\xef\xbb\xbf" + Lines(r, "\n"); }},
    {"p.jsonl.gz", [](const Json& r) { return Gzipped(Lines(r, "\n")); }},
    {"q.jsonl.gz", [](const Json& r) { return InHalves(Gzipped, Lines(r, "\n")); }},
    {"p.json.GZ", [](const Json& r) { return Gzipped(r.dump(1)); }},
    {"p.jsonl.zst", [](const Json& r) { return Zstandard(Lines(r, "\n")); }},
    {"q.jsonl.zst", [](const Json& r) { return InHalves(Zstandard, Lines(r, "\n")); }},
    {"s.jsonl", [](const Json& r) { return Zstandard(Lines(r, "\n")); }},
};

TEST(PromptContainers, HoldTheSamePrompts) {
  TemporaryDirectory directory;
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    Json records = Json::array();
    for (uint64_t i = 1 + random.Below(6); i > 0; --i) records.push_back(RandomRecord(random));
    WriteFileAtomically(directory / "plain.jsonl", Lines(records, "\n"));
    const std::vector<RawPrompt> plain = ReadPromptFile(directory / "plain.jsonl", "");
    ASSERT_THAT(plain, SizeIs(records.size()));
    for (size_t i = 0; i < plain.size(); ++i) {
      ASSERT_EQ(plain[i].text, records[i].value("text", ""));
    }
    for (const Container& container : kContainers) {
      const std::string content = container.write(records);
      WriteFileAtomically(directory / container.name, content);
      const std::vector<RawPrompt> prompts = ReadPromptFile(directory / container.name, "");
      ASSERT_THAT(prompts, SizeIs(plain.size())) << container.name << "\n" << records.dump();
      for (size_t i = 0; i < plain.size(); ++i) {
        ASSERT_EQ(prompts[i].text, plain[i].text) << container.name;
        ASSERT_EQ(prompts[i].token_ids, plain[i].token_ids) << container.name;
        ASSERT_FALSE(prompts[i].is_document) << container.name;
      }
    }
  }
}

TEST(PromptContainers, DamagedFilesAreRefused) {
  TemporaryDirectory directory;
  const auto reading = [&](const std::string& name, const std::string& bytes) {
    return [&directory, name, bytes] {
      WriteFileAtomically(directory / name, bytes);
      ReadPromptFile(directory / name, "");
    };
  };
  std::string line = "{\"text\": \"";
  Random random(2);
  for (int i = 0; i < 5000; ++i) line += static_cast<char>('a' + random.Below(26));
  line += "\"}\n";
  for (const auto& [compress, kind] :
       {std::pair{&Gzipped, "a whole gzip file"}, std::pair{&Zstandard, "a whole zstd file"}}) {
    const std::string whole = compress(line);
    EXPECT_THAT(reading("p.jsonl.gz", whole.substr(0, whole.size() - 9)),
                ThrowsMessage<Error>(HasSubstr(kind)));
    EXPECT_THAT(reading("p.jsonl.gz", whole.substr(0, whole.size() / 2)),
                ThrowsMessage<Error>(HasSubstr(kind)));
    EXPECT_THAT(reading("p.jsonl.gz", whole + "tail of other bytes"),
                ThrowsMessage<Error>(HasSubstr(kind)));
  }
}

// A few kilobytes can hold hundreds of millions of spaces, which fill a machine and are no prompt.
TEST(PromptContainers, FilesThatGrowBeyondReasonAreRefused) {
  TemporaryDirectory directory;
  const std::string spaces(size_t{3} << 20, ' ');
  for (const auto& compress : {&Gzipped, &Zstandard}) {
    const std::string bytes = compress(spaces);
    ASSERT_LT(bytes.size() * kMostBytesPerCompressed, size_t{2} << 20);
    WriteFileAtomically(directory / "p.txt.gz", bytes);
    EXPECT_THAT([&] { ReadPromptFile(directory / "p.txt.gz", ""); },
                ThrowsMessage<Error>(HasSubstr("found a file that decompresses to over ")));
    // What little there is in a small file is read, however well it shrank.
    const std::string small(kFreeDecompressedBytes, ' ');
    EXPECT_EQ(Decompress(compress(small), "p.txt.gz"), small);
    // A larger one may grow with its size.
    Random random(6);
    std::string large(2 * kFreeDecompressedBytes, 'a');
    for (char& letter : large) letter = static_cast<char>('a' + random.Below(26));
    EXPECT_EQ(Decompress(compress(large), "p.txt.gz"), large);
  }
}

// The output goes through blocks of a size that the library chooses.
TEST(PromptContainers, ZstandardTextsAroundABlockAreReadWhole) {
  const size_t block = ZSTD_DStreamOutSize();
  Random random(7);
  for (const size_t size : {size_t{1}, block - 1, block, block + 1, 2 * block}) {
    std::string noise(size, 'a');
    for (char& letter : noise) letter = static_cast<char>('a' + random.Below(26));
    for (const std::string& text : {std::string(size, 'a'), noise}) {
      EXPECT_EQ(Decompress(Zstandard(text), "p.txt.zst"), text) << size;
      EXPECT_EQ(Decompress(Zstandard(text) + Zstandard(text), "p.txt.zst"), text + text) << size;
    }
  }
}

TEST(PromptContainers, CompressedTextIsOneDocument) {
  TemporaryDirectory directory;
  WriteFileAtomically(directory / "p.txt.zst", Zstandard("two\nlines"));
  const auto prompts = ReadPromptFile(directory / "p.txt.zst", "");
  ASSERT_THAT(prompts, SizeIs(1));
  EXPECT_EQ(prompts[0].text, "two\nlines");
  EXPECT_TRUE(prompts[0].is_document);
}

}  // namespace
}  // namespace kvtune
