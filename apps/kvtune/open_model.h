// The one place that constructs a model runner.
#pragma once

#include "lib/run/model_session.h"

namespace kvtune {

// Loads a checkpoint's weights to the device of the options. Throws Error.
ModelLoader RunnerLoader();

}  // namespace kvtune
