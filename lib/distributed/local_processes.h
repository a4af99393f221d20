// The other processes of a run on the devices of this host, started as torchrun would.
#pragma once

#include <sys/types.h>

#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lib/distributed/ranks.h"

namespace kvtune {

// The local ranks that a user asks for: "4" and "all" are the first GPUs, "0,2" those with these
// numbers, and a number on a CPU is so many processes of it. `device` is that of ModelOptions.
// Throws Error (kUsage) for words that say nothing, and Error for GPUs that are not there.
std::vector<int> LocalRanksOf(const std::string& devices, const std::string& device,
                              const std::function<bool(const std::string&)>& has_device);

// The variables that make a process a rank of a run on this host.
std::vector<std::string> VariablesOfRank(size_t rank, const std::vector<int>& local_ranks,
                                         int port);

// Whether this process was started by LocalProcesses, whose variables it has.
bool IsStartedLocally(const EnvironmentLookup& lookup);

// A port of this host that nobody has now. Throws Error.
int FreePort();

// While an object of this class exists, the other processes run. They end when this one does,
// however it ends.
class LocalProcesses {
 public:
  // Makes this process rank 0 and starts one for every further local rank: this program with the
  // arguments `command`, nothing to read, and these variables. Throws Error.
  // REQUIRES: the caller is the main thread, and no other reads the environment.
  LocalProcesses(const std::vector<int>& local_ranks, const std::vector<std::string>& command);
  // Waits until those that run have ended, for some seconds; while an exception passes it ends them
  // at once.
  ~LocalProcesses();
  LocalProcesses(const LocalProcesses&) = delete;
  LocalProcesses& operator=(const LocalProcesses&) = delete;

 private:
  struct Process {
    pid_t pid = 0;
    size_t rank = 0;
    bool runs = true;
  };

  bool Runs();   // whether one of them does
  void Reap();   // those that have ended, with a warning where that was no good end
  void Watch();  // reaps, until the end
  void EndAll();

  int exceptions_;  // that were passing when this began
  std::mutex mutex_;
  std::vector<Process> processes_;
  bool is_over_ = false;
  std::thread watcher_;
};

}  // namespace kvtune
