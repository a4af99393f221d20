#include "apps/kvtune/open_model.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

#include "apps/kvtune/interrupt.h"
#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/base/version.h"
#include "lib/calib/prompt_set.h"
#include "lib/distributed/lease_times.h"
#include "lib/distributed/ranks.h"
#include "lib/distributed/shared_run.h"
#include "lib/distributed/tcp_store.h"
#include "lib/runner/device.h"
#include "lib/runner/model_runner.h"
#include "lib/tokenizer/tokenizer.h"

namespace kvtune {
namespace {

std::unique_ptr<MeasuredModel> LoadModelRunner(const Checkpoint& checkpoint, ModelOptions options) {
  // Each thread beyond the processors only waits for one, and thousands take minutes to start.
  const auto processors = static_cast<int>(std::thread::hardware_concurrency());
  if (processors > 0 && options.threads > processors) {
    LogInfo(fmt::format("--threads {}: {} are used, one for each processor", options.threads,
                        processors));
    options.threads = processors;
  }
  return std::make_unique<ModelRunner>(checkpoint, options);
}

bool HasDevice(const std::string& name) {
  try {
    DescribeDevice(name);
    return true;
  } catch (const Error&) {
    return false;
  }
}

// The model's tokenizer, which is read when it is first needed.
class TokenizerOnDemand {
 public:
  explicit TokenizerOnDemand(const Checkpoint& checkpoint)
      : file_(checkpoint.directory() / "tokenizer.json"), config_(checkpoint.config()) {}

  // Of its file; "none" where there is none.
  std::string Hash() const {
    std::error_code ignored;
    return std::filesystem::exists(file_, ignored) ? HashOf(ReadFile(file_)) : "none";
  }
  std::string TextOf(std::span<const int32_t> ids) {
    std::call_once(is_read_, [&] { tokenizer_.emplace(LoadTokenizer(file_, config_)); });
    return tokenizer_->Decode(ids);
  }

 private:
  std::filesystem::path file_;
  ModelConfig config_;
  std::once_flag is_read_;
  std::optional<Tokenizer> tokenizer_;
};

// REQUIRES: checkpoint outlives the source.
ModelSource SourceOf(const Checkpoint& checkpoint, ModelOptions options, const Ranks& ranks) {
  // Each process has as many GPUs as it splits its layers over. Others may have the further ones.
  const bool is_alone = ranks.local_world == 1;
  if (options.split_layers == 0 && !is_alone) options.split_layers = 1;
  options.device =
      DeviceOfRank(options.device, ranks.local_rank * std::max(1, options.split_layers), HasDevice);
  if (options.threads == 0 && std::getenv("OMP_NUM_THREADS") == nullptr && ranks.local_world > 1) {
    const auto processors = static_cast<int>(std::thread::hardware_concurrency());
    options.threads = std::max(1, processors / ranks.local_world);
  }
  const auto tokenizer = std::make_shared<TokenizerOnDemand>(checkpoint);
  return {.version = std::string(Version()),
          .hash = checkpoint.QuickHash(),
          .tokenizer_hash = tokenizer->Hash(),
          .prefill = std::string(WordOf(kPrefillWords, options.prefill)),
          .text_of = [tokenizer](std::span<const int32_t> ids) { return tokenizer->TextOf(ids); },
          .load = [&checkpoint, options] { return LoadModelRunner(checkpoint, options); }};
}

// Returns a message where rank 0 ended with an error.
std::optional<std::string> Serve(const RunInputs& inputs, const Ranks& ranks) {
  const Checkpoint checkpoint(inputs.model);
  const LeaseTimes times;
  return ServeRun(OpenTcpStore(ranks, times.opening), ranks, times,
                  SourceOf(checkpoint, inputs.running, ranks), [](const std::string& message) {
                    LogError(message);
                    ::_exit(static_cast<int>(ExitCode::kError));  // there are no files to close
                  });
}

// Serves the process that has started this one, which follows signals for both and ends this one.
// An error that both meet is told by the parent alone, so that there is one line.
void ServeParent(const RunInputs& inputs, const Ranks& ranks) {
  constexpr auto kTimeToBeEnded = std::chrono::seconds(2);
  IgnoreInterrupts();
  try {
    Serve(inputs, ranks);
  } catch (const Error&) {
    std::this_thread::sleep_for(kTimeToBeEnded);
    throw;
  }
}

}  // namespace

ModelLoader RunnerLoader() { return LoadModelRunner; }

ModelLoader SharedRunnerLoader() {
  return [](const Checkpoint& checkpoint, const ModelOptions& options) {
    const Ranks ranks = ReadRanks(ProcessEnvironment());
    if (ranks.world == 1) return LoadModelRunner(checkpoint, options);
    const LeaseTimes times;
    return LeadRun(OpenTcpStore(ranks, times.opening), ranks, times,
                   SourceOf(checkpoint, options, ranks));
  };
}

std::unique_ptr<LocalProcesses> StartDevices(const RunInputs& inputs,
                                             const Invocation& invocation) {
  const EnvironmentLookup environment = ProcessEnvironment();
  if (inputs.devices.empty() || IsStartedLocally(environment)) return nullptr;
  if (ReadRanks(environment).world > 1) {
    throw Error(
        "choosing the devices: found --devices in a process that a launcher started as one of "
        "many, expected one of the two",
        ExitCode::kUsage);
  }
  if (inputs.running.split_layers > 1 && inputs.running.device != "cpu" && HasDevice("cuda:0")) {
    throw Error(
        "choosing the devices: found --devices and --split-layers, expected one of them (torchrun "
        "starts processes that split their layers over several GPUs each)",
        ExitCode::kUsage);
  }
  const std::vector<int> local_ranks =
      LocalRanksOf(inputs.devices, inputs.running.device, HasDevice);
  if (local_ranks.size() == 1) return nullptr;
  return std::make_unique<LocalProcesses>(local_ranks, invocation.command_line);
}

bool ServesAnotherProcess(const RunInputs& inputs) {
  const Ranks ranks = ReadRanks(ProcessEnvironment());
  if (ranks.rank == 0) return false;
  if (IsStartedLocally(ProcessEnvironment())) {
    ServeParent(inputs, ranks);
    return true;
  }
  // A signal for all processes is for rank 0 to follow, which still needs this one for its batch.
  const InterruptDelay delay;
  if (const std::optional<std::string> failure = Serve(inputs, ranks)) throw Error(*failure);
  return true;
}

}  // namespace kvtune
