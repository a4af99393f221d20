// candidates.json.
#include <nlohmann/json.hpp>

#include "lib/core/candidates.h"
#include "lib/report/candidates_table.h"
#include "tests/fuzz/fuzzer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kvtune;
  return fuzz::Try(size, [&] {
    const Json json = ParseJson(fuzz::TextOf(data, size), "candidates.json");
    const CandidateSet candidates = CandidateSetFromJson(json, "candidates.json");
    CandidatesText(candidates, 80);
    CandidateSetFromJson(ToJson(candidates), "output");
  });
}
