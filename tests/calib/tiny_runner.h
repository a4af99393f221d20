// A model runner over a random decoder on disk, and prompts for it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "lib/base/random.h"
#include "lib/io/checkpoint.h"
#include "lib/runner/model_probe.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {

class TinyRunner {
 public:
  using Edit = std::function<void(const std::filesystem::path& model_directory)>;

  // `edit` may change the files before they are loaded.
  explicit TinyRunner(const TinyModel& model = {},
                      ProbeArithmetic arithmetic = ProbeArithmetic::kOfOptions,
                      const Edit& edit = nullptr) {
    WriteTinyCheckpoint(model, directory_.path());
    if (edit) edit(directory_.path());
    checkpoint_.emplace(directory_.path());
    runner_.emplace(*checkpoint_, ModelOptions{.device = "cpu"},
                    ProbeOptions{.arithmetic = arithmetic});
  }

  MeasuredModel& model() { return *runner_; }

 private:
  TemporaryDirectory directory_;
  std::optional<Checkpoint> checkpoint_;
  std::optional<ModelProbe> runner_;
};

// Prompts of 20, 31, 42, ... random ids under 64, TinyModel's vocabulary.
inline std::vector<TokenIds> RandomPrompts(size_t count, uint64_t seed = 0) {
  Random random(seed);
  std::vector<TokenIds> prompts(count);
  for (size_t i = 0; i < count; ++i) {
    for (size_t t = 0; t < 20 + 11 * i; ++t) {
      prompts[i].push_back(static_cast<int32_t>(random.Below(64)));
    }
  }
  return prompts;
}

}  // namespace kvtune
