// Prompt files of every suffix, plain and packed, with and without a template.
#include <iterator>

#include "lib/io/prompt_file.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  // gzip makes up to 1032 bytes of one, and a prompt is copied while it is read.
  constexpr int64_t kPackedBytes = 1032 * 8;
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
      kPackedBytes);
}
