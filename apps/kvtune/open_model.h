// The only place in the program that constructs a model runner, for one process or for many.
#pragma once

#include <memory>

#include "apps/kvtune/options.h"
#include "lib/distributed/local_processes.h"
#include "lib/run/model_session.h"
#include "lib/run/run_options.h"

namespace kvtune {

// The loader that reads a checkpoint's weights onto the device of the options. It throws Error.
ModelLoader RunnerLoader();

// The same where a launcher has started one process. Rank 0 of many gets a model whose work they
// share.
ModelLoader SharedRunnerLoader();

// Starts the processes of --devices and makes this one their rank 0; null where there is nothing to
// start. What it returns has to outlive the model. Throws Error.
std::unique_ptr<LocalProcesses> StartDevices(const RunInputs& inputs, const Invocation& invocation);

// Where a launcher has started many processes and this one is not rank 0: loads the model, works
// for rank 0 until that is done, and returns true. Otherwise returns false at once. Throws Error.
bool ServesAnotherProcess(const RunInputs& inputs);

}  // namespace kvtune
