#include "lib/distributed/local_processes.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/own_program.h"
#include "lib/base/split.h"

namespace kvtune {
namespace {

// Tells a process that its parent, which has this number, started it.
constexpr char kStartedBy[] = "KVTUNE_STARTED_BY";
constexpr int kMostProcesses = 256;
constexpr auto kReapPause = std::chrono::milliseconds(50);
// The others have said goodbye when this process ends, but a GPU's driver takes its time.
constexpr auto kPatience = std::chrono::seconds(20);

std::optional<int> WholeNumberOf(std::string_view text) {
  int number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

[[noreturn]] void FailDevices(const std::string& devices, const std::string& expected,
                              ExitCode code = ExitCode::kUsage) {
  throw Error("choosing the devices: found --devices " + devices + ", expected " + expected, code);
}

std::string GpuName(int number) { return "cuda:" + std::to_string(number); }

void RequireGpus(const std::string& devices, const std::vector<int>& numbers,
                 const std::function<bool(const std::string&)>& has_device) {
  for (const int number : numbers) {
    if (has_device(GpuName(number))) continue;
    FailDevices(devices, "GPUs that this process sees: there is no " + GpuName(number),
                ExitCode::kError);
  }
}

std::vector<int> FirstNumbers(int count) {
  std::vector<int> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(i);
  return numbers;
}

[[noreturn]] void FailForSystem(const std::string& doing) {
  throw Error("starting processes: " + doing + ": " + std::strerror(errno));
}

// How a process ended, where that was no good end; empty otherwise.
std::string BadEnd(int status) {
  if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) == 0) return "";
  return "ended with exit code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

std::vector<int> LocalRanksOf(const std::string& devices, const std::string& device,
                              const std::function<bool(const std::string&)>& has_device) {
  const bool on_gpus = device != "cpu" && (device == "cuda" || has_device(GpuName(0)));
  if (device != "auto" && device != "cpu" && device != "cuda") {
    FailDevices(devices, "no --device beside it but auto, cpu or cuda");
  }
  if (devices == "all") {
    if (!on_gpus) FailDevices(devices, "a number of processes, since there are no GPUs");
    int count = 0;
    while (has_device(GpuName(count))) ++count;
    RequireGpus(devices, FirstNumbers(std::max(count, 1)), has_device);
    return FirstNumbers(count);
  }
  std::vector<int> numbers;
  for (const std::string& word : SplitAt(',', devices)) {
    const std::optional<int> number = WholeNumberOf(word);
    if (!number || *number > kMostProcesses ||
        std::ranges::find(numbers, *number) != numbers.end()) {
      FailDevices(devices, "a number, all, or the numbers of some GPUs such as 0,2");
    }
    numbers.push_back(*number);
  }
  if (numbers.size() == 1) {
    if (numbers[0] == 0) FailDevices(devices, "at least one");
    numbers = FirstNumbers(numbers[0]);
  } else if (!on_gpus) {
    FailDevices(devices, "a number of processes, since there are no GPUs");
  }
  if (on_gpus) RequireGpus(devices, numbers, has_device);
  return numbers;
}

std::vector<std::string> VariablesOfRank(size_t rank, const std::vector<int>& local_ranks,
                                         int port) {
  const std::string world = std::to_string(local_ranks.size());
  return {"RANK=" + std::to_string(rank),
          "WORLD_SIZE=" + world,
          "LOCAL_RANK=" + std::to_string(local_ranks[rank]),
          "LOCAL_WORLD_SIZE=" + world,
          "MASTER_ADDR=127.0.0.1",
          "MASTER_PORT=" + std::to_string(port),
          "TORCHELASTIC_USE_AGENT_STORE=False"};
}

bool IsStartedLocally(const EnvironmentLookup& lookup) {
  return lookup(kStartedBy) == std::to_string(::getppid());
}

int FreePort() {
  const int file = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (file < 0) FailForSystem("looking for a free port");
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool found = ::bind(file, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 &&
                     ::getsockname(file, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  const int problem = errno;
  ::close(file);
  errno = problem;
  if (!found) FailForSystem("looking for a free port");
  return ntohs(address.sin_port);
}

LocalProcesses::LocalProcesses(const std::vector<int>& local_ranks,
                               const std::vector<std::string>& command)
    : exceptions_(std::uncaught_exceptions()) {
  const int port = FreePort();
  const std::string mark = std::string(kStartedBy) + "=" + std::to_string(::getpid());
  for (size_t rank = 1; rank < local_ranks.size(); ++rank) {
    std::vector<std::string> variables = VariablesOfRank(rank, local_ranks, port);
    variables.push_back(mark);
    try {
      processes_.push_back(
          {.pid = StartOwnProgram(command, variables, ChildOutput::kInherited), .rank = rank});
    } catch (const Error&) {
      EndAll();
      throw;
    }
  }
  for (const std::string& variable : VariablesOfRank(0, local_ranks, port)) {
    const size_t middle = variable.find('=');
    ::setenv(variable.substr(0, middle).c_str(), variable.substr(middle + 1).c_str(), 1);
  }
  watcher_ = std::thread([this] { Watch(); });
}

LocalProcesses::~LocalProcesses() {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  const bool has_failed = std::uncaught_exceptions() > exceptions_;
  while (!has_failed && Runs() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(kReapPause);
  }
  {
    const std::scoped_lock lock(mutex_);
    is_over_ = true;
  }
  watcher_.join();
  EndAll();
}

bool LocalProcesses::Runs() {
  const std::scoped_lock lock(mutex_);
  return std::ranges::any_of(processes_, &Process::runs);
}

void LocalProcesses::Reap() {
  for (Process& process : processes_) {
    int status = 0;
    if (!process.runs || ::waitpid(process.pid, &status, WNOHANG) != process.pid) continue;
    process.runs = false;
    const std::string how = BadEnd(status);
    if (how.empty()) continue;
    LogWarning("the process of rank " + std::to_string(process.rank) + " " + how +
               "; the others do its work");
  }
}

void LocalProcesses::Watch() {
  while (true) {
    {
      const std::scoped_lock lock(mutex_);
      if (is_over_) return;
      Reap();
    }
    std::this_thread::sleep_for(kReapPause);
  }
}

void LocalProcesses::EndAll() {
  for (const Process& process : processes_) {
    if (!process.runs) continue;
    ::kill(process.pid, SIGKILL);
    while (::waitpid(process.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

}  // namespace kvtune
