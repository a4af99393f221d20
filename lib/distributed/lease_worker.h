// The side of the processes other than rank 0: they join a run, show that they are of it, and work
// on its leases until it ends.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "lib/base/error.h"
#include "lib/distributed/heartbeat.h"
#include "lib/distributed/lease_times.h"
#include "lib/distributed/ranks.h"
#include "lib/distributed/store.h"

namespace kvtune {

// What all processes of a run have to have in common, or their results do not belong together.
// Known before a model is loaded: the version of the program and the number of processes. Then: the
// model and how it is run.
struct Greeting {
  std::string version;
  int world = 1;
};
struct RunModel {
  std::string hash;       // Checkpoint::QuickHash
  std::string tokenizer;  // a hash of its file
  std::string device;     // "cpu", "cuda"
  std::string data_type;  // "float32", ...
  std::string prefill;
};

// Rank 0 tells the others. Throws Error when the store is in use by another run.
void Greet(Store& store, const Greeting& greeting);
void ShowModel(Store& store, const RunModel& model);

// Throws Error when rank 0 is of another version or promises another number of processes, and when
// a living process has this rank already.
void Join(Store& store, const Ranks& ranks, const Greeting& greeting, const LeaseTimes& times);

// Rank 0 ended with an error, which it has told by itself.
class RankZeroFailed : public Error {
 public:
  using Error::Error;
};

class LeaseWorker {
 public:
  using Work = std::function<std::string(const std::string& request)>;

  // REQUIRES: Join returned, and store and heartbeat outlive the worker.
  LeaseWorker(Store& store, Heartbeat& heartbeat, const Ranks& ranks, const LeaseTimes& times)
      : store_(store), heartbeat_(heartbeat), ranks_(ranks), times_(times) {}

  // Waits until rank 0 has shown its model, and throws Error where this process has another one.
  // Returns false when rank 0 has ended well before.
  bool CompareModel(const RunModel& model);
  // Works until rank 0 is done. Throws RankZeroFailed, and Error when it is gone.
  void Serve(const Work& work);
  // Whether rank 0 still waits for what `work` is busy with; what is not wanted is not given to it.
  // It asks the store as often as the process beats, so that it may be called often.
  bool IsWanted();

 private:
  // Throws RankZeroFailed.
  bool HasEnded();
  // The value of a key that rank 0 will set; nullopt when it ended well before.
  std::optional<std::string> Await(const std::string& key);

  Store& store_;
  Heartbeat& heartbeat_;
  Ranks ranks_;
  LeaseTimes times_;
  int64_t slot_ = kNoSlot;
  bool is_wanted_ = true;
  std::chrono::steady_clock::time_point asked_;  // when it last asked whether it is wanted
};

}  // namespace kvtune
