#include "lib/distributed/ranks.h"

#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "lib/base/error.h"

namespace kvtune {
namespace {

constexpr int kDefaultPort = 29500;  // torchrun's

// One launcher's names.
struct RankVariables {
  std::string_view launcher;
  std::string_view rank, world, local_rank, local_world;
};

constexpr RankVariables kLaunchers[] = {
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    // A job's script has SLURM_PROCID and SLURM_NTASKS too, although it is one process. Only a
    // step, which srun makes, has this number of tasks.
    {"Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""},
};

[[noreturn]] void FailRanks(const std::string& message) {
  throw Error("reading the ranks of the processes: " + message);
}

class RankReader {
 public:
  explicit RankReader(const EnvironmentLookup& lookup) : lookup_(lookup) {}

  std::optional<std::string> Text(std::string_view name) const {
    if (name.empty()) return std::nullopt;
    std::optional<std::string> text = lookup_(std::string(name));
    if (text && text->empty()) return std::nullopt;
    return text;
  }

  std::optional<int64_t> Number(std::string_view name, int64_t least, int64_t most) const {
    const std::optional<std::string> text = Text(name);
    if (!text) return std::nullopt;
    int64_t number = 0;
    const char* end = text->data() + text->size();
    const auto [stop, problem] = std::from_chars(text->data(), end, number);
    if (problem != std::errc() || stop != end || number < least || number > most) {
      FailRanks("found " + std::string(name) + "=" + *text + ", expected a whole number of " +
                std::to_string(least) + " to " + std::to_string(most));
    }
    return number;
  }

 private:
  const EnvironmentLookup& lookup_;
};

// Slurm's form of a job's number keeps runs of different jobs on one host apart.
int PortOf(const RankReader& reader, const RankVariables& launcher) {
  if (const auto port = reader.Number("MASTER_PORT", 1, 65535)) return static_cast<int>(*port);
  if (launcher.launcher != "Slurm") return kDefaultPort;
  const auto job = reader.Number("SLURM_JOB_ID", 0, std::numeric_limits<int64_t>::max());
  return job ? static_cast<int>(15000 + *job % 10000) : kDefaultPort;
}

std::string AddressOf(const RankReader& reader, const RankVariables& launcher, int world) {
  if (const auto address = reader.Text("MASTER_ADDR")) return *address;
  if (launcher.launcher == "Slurm") {
    for (const std::string_view list : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"}) {
      if (const auto nodes = reader.Text(list)) return FirstHost(*nodes);
    }
    if (const auto launched = reader.Text("SLURM_LAUNCH_NODE_IPADDR")) return *launched;
  }
  const auto here = reader.Number(launcher.local_world, 1, std::numeric_limits<int>::max());
  if (here == world) return "127.0.0.1";
  FailRanks("found " + std::to_string(world) + " processes of " + std::string(launcher.launcher) +
            " but no MASTER_ADDR, expected the address of the host of rank 0");
}

}  // namespace

Ranks ReadRanks(const EnvironmentLookup& lookup) {
  const RankReader reader(lookup);
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  for (const RankVariables& launcher : kLaunchers) {
    const auto rank = reader.Number(launcher.rank, 0, kMost);
    const auto world = reader.Number(launcher.world, 1, kMost);
    if (launcher.launcher == "Slurm" && !world) continue;
    if (!rank && !world) continue;
    if (!rank || !world) {
      FailRanks("found " + std::string(rank ? launcher.rank : launcher.world) + " but no " +
                std::string(rank ? launcher.world : launcher.rank) + ", expected both or neither");
    }
    if (*rank >= *world) {
      FailRanks("found " + std::string(launcher.rank) + "=" + std::to_string(*rank) + " and " +
                std::string(launcher.world) + "=" + std::to_string(*world) +
                ", expected a rank below the number of processes");
    }
    if (*world == 1) return {};
    Ranks ranks;
    ranks.rank = static_cast<int>(*rank);
    ranks.world = static_cast<int>(*world);
    ranks.local_rank = static_cast<int>(reader.Number(launcher.local_rank, 0, kMost).value_or(0));
    ranks.local_world = static_cast<int>(reader.Number(launcher.local_world, 1, kMost).value_or(0));
    ranks.address = AddressOf(reader, launcher, ranks.world);
    ranks.port = PortOf(reader, launcher);
    if (launcher.launcher == "torchrun") {
      ranks.agent_holds_store = reader.Text("TORCHELASTIC_USE_AGENT_STORE") == "True";
      ranks.restarts = reader.Number("TORCHELASTIC_RESTART_COUNT", 0, kMost).value_or(0);
    }
    return ranks;
  }
  return {};
}

EnvironmentLookup ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

std::string FirstHost(const std::string& node_list) {
  std::string host;
  bool in_brackets = false, in_first = true;
  for (const char c : node_list) {
    if (c == '[') {
      in_brackets = in_first = true;
    } else if (c == ']') {
      in_brackets = false;
    } else if (!in_brackets) {
      if (c == ',') break;
      host += c;
    } else {
      in_first = in_first && c != ',' && c != '-';
      if (in_first) host += c;
    }
  }
  return host;
}

std::string DeviceOfRank(const std::string& device, int local_rank,
                         const std::function<bool(const std::string&)>& has_device) {
  if (device != "auto" && device != "cuda") return device;
  const std::string own = "cuda:" + std::to_string(local_rank);
  return has_device(own) ? own : device;
}

}  // namespace kvtune
