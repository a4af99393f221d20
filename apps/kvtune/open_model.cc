#include "apps/kvtune/open_model.h"

#include <fmt/format.h>

#include <memory>
#include <thread>

#include "lib/base/log.h"
#include "lib/runner/model_runner.h"

namespace kvtune {

ModelLoader RunnerLoader() {
  return [](const Checkpoint& checkpoint, ModelOptions options) {
    // Each thread beyond the processors only waits for one, and thousands take minutes to start.
    const auto processors = static_cast<int>(std::thread::hardware_concurrency());
    if (processors > 0 && options.threads > processors) {
      LogInfo(fmt::format("--threads {}: {} are used, one for each processor", options.threads,
                          processors));
      options.threads = processors;
    }
    return std::make_unique<ModelRunner>(checkpoint, options);
  };
}

}  // namespace kvtune
