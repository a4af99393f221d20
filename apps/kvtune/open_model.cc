#include "apps/kvtune/open_model.h"

#include <memory>

#include "lib/runner/model_runner.h"

namespace kvtune {

ModelLoader RunnerLoader() {
  return [](const Checkpoint& checkpoint, const ModelOptions& options) {
    return std::make_unique<ModelRunner>(checkpoint, options);
  };
}

}  // namespace kvtune
