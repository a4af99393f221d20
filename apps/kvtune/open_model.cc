#include "apps/kvtune/open_model.h"

#include <fmt/format.h>
#include <unistd.h>

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
  options.device = DeviceOfRank(options.device, ranks.local_rank, HasDevice);
  const auto tokenizer = std::make_shared<TokenizerOnDemand>(checkpoint);
  return {.version = std::string(Version()),
          .hash = checkpoint.QuickHash(),
          .tokenizer_hash = tokenizer->Hash(),
          .prefill = std::string(WordOf(kPrefillWords, options.prefill)),
          .text_of = [tokenizer](std::span<const int32_t> ids) { return tokenizer->TextOf(ids); },
          .load = [&checkpoint, options] { return LoadModelRunner(checkpoint, options); }};
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

bool ServesAnotherProcess(const RunInputs& inputs) {
  const Ranks ranks = ReadRanks(ProcessEnvironment());
  if (ranks.rank == 0) return false;
  // A signal for all processes is for rank 0 to follow, which still needs this one for its batch.
  const InterruptDelay delay;
  const Checkpoint checkpoint(inputs.model);
  const LeaseTimes times;
  ServeRun(OpenTcpStore(ranks, times.opening), ranks, times,
           SourceOf(checkpoint, inputs.running, ranks), [](const std::string& message) {
             LogError(message);
             ::_exit(static_cast<int>(ExitCode::kError));  // there are no files to close
           });
  return true;
}

}  // namespace kvtune
