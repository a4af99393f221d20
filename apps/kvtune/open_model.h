// The only place in the program that constructs a model runner.
#pragma once

#include "lib/run/model_session.h"

namespace kvtune {

// The loader that reads a checkpoint's weights onto the device of the options. It throws Error.
ModelLoader RunnerLoader();

}  // namespace kvtune
