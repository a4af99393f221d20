// Prompt files of every suffix, plain and compressed, with and without a template.
#include <cstdlib>
#include <iterator>

#include "lib/io/compression.h"
#include "lib/io/prompt_file.h"
#include "tests/fuzz/fuzzer.h"

// Chats are refused here. Python, which renders them, takes longer to start than a thousand inputs
// do, and what it reads is not of this reader.
static const bool kHasNoPython = ::setenv("KVTUNE_PYTHON", "/nowhere/python3", 1) == 0;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  fuzz::Require(kHasNoPython, "no chat starts Python");
  // A byte of text takes at most 48 of memory: a value of JSON takes 16 for a text of two, vectors
  // grow by doubling, and a prompt is copied while it is read.
  constexpr int64_t kBytesPerTextByte = 48;
  constexpr auto kBytesPerByte = int64_t{kMostBytesPerCompressed} * kBytesPerTextByte;
  // The window of zstd, and the text that any compressed file may hold.
  constexpr int64_t kFreeBytes =
      fuzz::kFreeBytes + (int64_t{128} << 20) + int64_t{kFreeDecompressedBytes} * kBytesPerTextByte;
  static constexpr const char* kNames[] = {"p.jsonl", "p.json", "p.txt", "p.JSONL.gz"};
  static constexpr const char* kTemplates[] = {"", "{question} {answer}", "{{{text}}}\\n{a}"};
  return fuzz::Try(
      size,
      [&] {
        std::string_view content = fuzz::TextOf(data, size);
        const size_t choice = fuzz::TakeChoice(content, 256);
        const std::vector<RawPrompt> prompts =
            ParsePrompts(content, kNames[choice % std::size(kNames)], "model",
                         kTemplates[choice / std::size(kNames) % std::size(kTemplates)]);
        fuzz::Require(!prompts.empty(), "a prompt file has prompts");
      },
      kBytesPerByte, kFreeBytes);
}
