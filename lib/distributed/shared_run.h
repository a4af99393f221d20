// What the processes of a run do: rank 0 leads it, the others serve it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/core/measured_model.h"
#include "lib/distributed/heartbeat.h"
#include "lib/distributed/lease_times.h"
#include "lib/distributed/ranks.h"
#include "lib/distributed/store.h"

namespace kvtune {

// A model that every process loads for itself, and what shows that all load the same one.
struct ModelSource {
  std::string version;  // of the program
  std::string hash;     // of the model
  std::string tokenizer_hash;
  std::string prefill;  // how it is run
  TextOfTokens text_of;
  std::function<std::unique_ptr<MeasuredModel>()> load;
};

// Loads the model of rank 0 and returns it as one that shares its work with the other processes, as
// many as come, until it is destroyed. Throws Error, also to the others.
std::unique_ptr<MeasuredModel> LeadRun(std::unique_ptr<Store> store, const Ranks& ranks,
                                       const LeaseTimes& times, const ModelSource& source);

// Loads the model and works for rank 0 until that is done. Returns a message where rank 0 ended
// with an error. Throws Error when this process does not belong to the run and when rank 0 is gone.
// `on_lost` is called, from another thread, when rank 0 is gone while this process is busy.
std::optional<std::string> ServeRun(std::unique_ptr<Store> store, const Ranks& ranks,
                                    const LeaseTimes& times, const ModelSource& source,
                                    Heartbeat::OnLost on_lost);

}  // namespace kvtune
