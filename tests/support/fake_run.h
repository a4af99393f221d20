// All that a run is made from, as small as it can be: a tiny checkpoint and prompts on disk, and a
// loader that gives fakes of the model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/base/log.h"
#include "lib/run/model_session.h"
#include "lib/run/run_options.h"
#include "tests/support/fake_model.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {

// Prompts number `first` to `first + count - 1`, all different, of 7 to 9 tokens.
// REQUIRES: first + count <= 64.
inline std::vector<TokenIds> FakePrompts(size_t first, size_t count) {
  std::vector<TokenIds> prompts;
  for (size_t number = first; number < first + count; ++number) {
    TokenIds& prompt = prompts.emplace_back();
    for (size_t i = 0; i < 7 + number % 3; ++i) {
      prompt.push_back(static_cast<int32_t>((number + 5 * i) % 64));
    }
  }
  return prompts;
}

inline void WritePrompts(const std::filesystem::path& file, const std::vector<TokenIds>& prompts) {
  std::string lines;
  for (const TokenIds& ids : prompts) lines += Json({{"input_ids", ids}}).dump() + "\n";
  WriteFileAtomically(file, lines);
}

class FakeRun {
 public:
  static constexpr size_t kLayers = 6;

  // 16 prompts, of which a run keeps the last quarter out of the search.
  explicit FakeRun(size_t prompt_count = 16) {
    SetLogLevel(LogLevel::kQuiet);
    script.losses = {{3.1, 0.7, 1.9, 0.3, 0.11, 0.05}, 3};
    WriteTinyCheckpoint(
        {.layers = kLayers, .hidden = 8, .intermediate = 8, .query_heads = 2, .kv_heads = 1},
        model());
    WritePrompts(prompts(), FakePrompts(0, prompt_count));
  }

  std::filesystem::path operator/(const std::string& name) const { return folder_ / name; }
  std::filesystem::path model() const { return folder_ / "model"; }
  std::filesystem::path prompts() const { return folder_ / "prompts.jsonl"; }

  RunInputs inputs() const {
    RunInputs inputs;
    inputs.model = model();
    inputs.prompts.files = {prompts()};
    return inputs;
  }

  // REQUIRES: the FakeRun outlives the loader and its models.
  ModelLoader loader() {
    return [this](const Checkpoint& checkpoint, const ModelOptions& options) {
      ++loads;
      loaded_with = options;
      return std::make_unique<FakeModel>(checkpoint.config(), script);
    };
  }

  FakeModelScript script;
  int loads = 0;
  ModelOptions loaded_with;  // the last time

 private:
  TemporaryDirectory folder_;
};

}  // namespace kvtune
