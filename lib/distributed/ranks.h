// Which of the processes of a run this one is, as torchrun, MPI or Slurm say it in the environment.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace kvtune {

struct Ranks {
  int rank = 0;              // 0 owns the run, its files and what is printed
  int world = 1;             // number of processes; 1: there is no store
  int local_rank = 0;        // among the processes of this host
  int local_world = 0;       // number of processes of this host; 0: not known
  std::string address = {};  // host of the store, where rank 0 runs; empty for one process
  int port = 0;
  // torchrun's agent holds the store, so that rank 0 only connects to it.
  bool agent_holds_store = false;
  // How often torchrun has started the processes anew. Its store outlives them.
  int64_t restarts = 0;

  friend bool operator==(const Ranks&, const Ranks&) = default;
};

// Returns the value of an environment variable; nullopt when it is not set.
using EnvironmentLookup = std::function<std::optional<std::string>(const std::string& name)>;

// The variables of torchrun come first (RANK, WORLD_SIZE, LOCAL_RANK), then those of Open MPI
// (OMPI_COMM_WORLD_RANK), of PMI (PMI_RANK: MPICH, Intel MPI) and of a step of Slurm
// (SLURM_PROCID). A Slurm job's own script is no step: it runs alone. MASTER_ADDR and MASTER_PORT
// say where the store is; without them it is on the host of the step's first node, on this host
// when all processes of MPI are here, and at a port that follows from the job's number, or 29500.
// Throws Error for numbers that contradict each other and where an address is missing.
Ranks ReadRanks(const EnvironmentLookup& lookup);

// The environment of this process.
EnvironmentLookup ProcessEnvironment();

// The first host of Slurm's list: "gpu07" of "gpu[07-09,12],big1".
std::string FirstHost(const std::string& node_list);

// The device of this process when a user says "auto" or "cuda": the GPU of its local rank where
// `has_device` knows one, such as "cuda:3", so that processes of one host spread over its GPUs.
std::string DeviceOfRank(const std::string& device, int local_rank,
                         const std::function<bool(const std::string&)>& has_device);

}  // namespace kvtune
