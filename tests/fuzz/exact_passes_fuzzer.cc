// What the gate keeps of the exact model's passes: as it stands, or a header to which the fuzzer
// adds key and checksum.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/base/hash.h"
#include "lib/base/json_fields.h"
#include "lib/calib/exact_cache.h"
#include "lib/core/artifacts.h"
#include "tests/fuzz/fuzzer.h"

namespace kvtune {
namespace {

const ExactCacheKey kKey{"0.1.0", "xxh3:1", "xxh3:2", "cpu", "float32", "quantized"};

// The header's prompts are the first line of `input`, the hidden states the rest.
std::string WithChecksum(std::string_view input) {
  const size_t end = std::min(input.find('\n'), input.size());
  const std::string_view hidden = input.substr(std::min(end + 1, input.size()));
  const Json key = {{"schema_version", kSchemaVersion},
                    {"version", kKey.version},
                    {"model_hash", kKey.model_hash},
                    {"prompts_hash", kKey.prompts_hash},
                    {"device", kKey.device},
                    {"dtype", kKey.dtype},
                    {"prefill", kKey.prefill}};
  const Json prompts = ParseJson(input.substr(0, end), "prompts");
  ContentHash hash;
  hash.UpdateField(key.dump());
  hash.UpdateField(prompts.dump());
  hash.UpdateField(hidden);
  const Json header = {{"key", key}, {"checksum", hash.Digest()}, {"prompts", prompts}};
  return header.dump() + "\n" + std::string(hidden);
}

}  // namespace
}  // namespace kvtune

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    std::string_view input = fuzz::TextOf(data, size);
    const bool is_whole = fuzz::TakeChoice(input, 4) == 0;
    const size_t prompts = fuzz::TakeChoice(input, 8);
    const std::string content = is_whole ? std::string(input) : WithChecksum(input);
    const std::vector<ExactPass> passes = ParseExactPasses(content, "exact.bin", kKey, prompts);
    fuzz::Require(passes.size() == prompts, "there is a pass for each prompt");
  });
}
