// tokenizer.json, and a text behind the byte 0xFF, which no JSON has. What a tokenizer makes of a
// text are ids that it knows.
#include <algorithm>

#include "lib/tokenizer/tokenizer.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const std::string_view input = fuzz::TextOf(data, size);
    const size_t end = std::min(input.find('\xff'), input.size());
    const Tokenizer tokenizer = Tokenizer::FromJson(input.substr(0, end), "tokenizer.json");
    const std::string_view text = end < input.size() ? input.substr(end + 1) : "A word, a 7.\n";
    for (const SpecialTokens special : {SpecialTokens::kAdd, SpecialTokens::kOmit}) {
      const std::vector<int32_t> ids = tokenizer.Encode(text, special);
      for (const int32_t id : ids) fuzz::Require(id >= 0, "ids are not negative");
    }
  });
}
