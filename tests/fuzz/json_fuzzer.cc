// Any JSON, as every reader reads it. What is written reads back equal.
#include <nlohmann/json.hpp>

#include "lib/base/json_fields.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const Json json = ParseJson(fuzz::TextOf(data, size), "input");
    fuzz::Require(ParseJson(DumpJson(json), "output") == json, "JSON reads back equal");
  });
}
