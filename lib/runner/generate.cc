#include "lib/runner/generate.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/kernels/parallel_loop.h"
#include "lib/runner/device_memory.h"
#include "lib/runner/kv_cache.h"
#include "lib/runner/layer_stream.h"
#include "lib/runner/prefill.h"

namespace kvtune {
namespace {

// Rows of every matrix product of a batch on a CPU. More of them would compute longer than the
// weights take to read, so that a sequence that ends early would save less.
constexpr int64_t kCpuWidth = 32;
// Sequences of a batch on a GPU, where a step reads the weights once for all of them.
constexpr int64_t kMostGpuRows = 4096;

// Rows of one prompt, in the order of the request.
struct PromptRows {
  size_t prompt = 0;
  std::vector<size_t> rows;
};

// What all batches take their rows from and give their results to.
class SharedWork {
 public:
  SharedWork(const GenerationRequest& request, const OnGeneratedRow& finished)
      : request_(request), finished_(finished) {
    for (size_t row = 0; row < request.rows.size(); ++row) {
      const size_t prompt = request.rows[row].prompt;
      if (waiting_.empty() || waiting_.back().prompt != prompt) waiting_.push_back({prompt, {}});
      waiting_.back().rows.push_back(row);
    }
  }

  const GenerationRequest& request() const { return request_; }
  bool goes_on() const { return goes_on_; }
  void Stop() { goes_on_ = false; }

  std::optional<PromptRows> Next() {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return std::nullopt;
    PromptRows next = std::move(waiting_.front());
    waiting_.pop_front();
    return next;
  }

  void Finish(GeneratedRow row) {
    const std::lock_guard lock(mutex_);
    if (goes_on_ && !finished_(row)) Stop();
  }

 private:
  const GenerationRequest& request_;
  const OnGeneratedRow& finished_;
  std::deque<PromptRows> waiting_;
  std::mutex mutex_;
  std::atomic<bool> goes_on_ = true;
};

// Sequences that take their steps together.
class Batch {
 public:
  // `width` is the number of rows of its matrix products, at least `rows`.
  Batch(RunnerState& state, SharedWork& work, int64_t rows, int64_t width, int64_t max_tokens)
      : decoder_(state.decoder),
        work_(work),
        stream_(state.decoder),
        prefill_(state.decoder, state.options.prefill),
        cache_(state.decoder, rows, max_tokens),
        places_(static_cast<size_t>(rows)),
        next_ids_(static_cast<size_t>(width), 0) {}

  void Run() {
    while (work_.goes_on()) {
      Refill();
      if (live_ == 0) return;
      Step();
    }
  }

 private:
  struct Place {
    std::optional<size_t> row;  // of the request
    TokenIds generated;
  };

  std::vector<int64_t> FreePlaces() const {
    std::vector<int64_t> free;
    for (size_t i = 0; i < places_.size(); ++i) {
      if (!places_[i].row) free.push_back(static_cast<int64_t>(i));
    }
    return free;
  }

  // Gives free places to rows that wait, prompt by prompt.
  void Refill() {
    for (std::vector<int64_t> free = FreePlaces(); !free.empty() && work_.goes_on();
         free = FreePlaces()) {
      if (next_row_ == current_.rows.size()) {
        std::optional<PromptRows> next = work_.Next();
        if (!next) return;
        current_ = std::move(*next);
        next_row_ = 0;
      }
      std::vector<PlacedPlan> placed;
      for (const int64_t place : free) {
        if (next_row_ == current_.rows.size()) break;
        const size_t row = current_.rows[next_row_++];
        places_[static_cast<size_t>(place)] = {row, {}};
        placed.push_back({place, work_.request().plans[work_.request().rows[row].plan]});
      }
      live_ += placed.size();
      Begin(placed);
    }
  }

  void Begin(const std::vector<PlacedPlan>& placed) {
    const at::Tensor last = prefill_.Fill(work_.request().prompts[current_.prompt], placed, cache_);
    // On a CPU each sequence by itself, so that it does not matter how many begin together.
    const int64_t at_a_time = last.device().is_cpu() ? 1 : last.size(0);
    for (int64_t begin = 0; begin < last.size(0); begin += at_a_time) {
      const std::vector<int64_t> ids = LikeliestOf(last.narrow(0, begin, at_a_time));
      for (size_t i = 0; i < ids.size(); ++i) {
        Accept(static_cast<size_t>(placed[static_cast<size_t>(begin) + i].row), ids[i]);
      }
    }
  }

  void Step() {
    const auto width = static_cast<int64_t>(next_ids_.size());
    const at::Tensor ids =
        at::from_blob(next_ids_.data(), {width}, at::kLong).to(decoder_.options().device());
    at::Tensor hidden = decoder_.Embed(ids);
    const NewestTokens newest = NextTokens(width);
    for (size_t layer = 0; layer < decoder_.config().layers.size(); ++layer) {
      stream_.Enter(layer);
      const at::Tensor attention =
          cache_.Attend(layer, decoder_.ProjectNewest(layer, hidden, newest));
      decoder_.AddAttentionAndMlp(layer, hidden, attention);
    }
    stream_.Leave();
    cache_.EndStep();
    const std::vector<int64_t> likeliest = LikeliestOf(hidden);
    for (size_t place = 0; place < places_.size(); ++place) {
      if (places_[place].row) Accept(place, likeliest[place]);
    }
  }

  // The positions of the places' new tokens, and 0 for what only fills the matrices.
  NewestTokens NextTokens(int64_t width) {
    const StepPositions& next = cache_.NextPositions();
    std::vector<int64_t> positions = next.of_row;
    if (width == cache_.rows()) return decoder_.NewestAt(std::move(positions), next.index);
    positions.resize(static_cast<size_t>(width), 0);
    const at::Tensor index =
        at::from_blob(positions.data(), {width}, at::kLong).to(next.index.device()).clone();
    return decoder_.NewestAt(std::move(positions), index);
  }

  // The ids of the likeliest next tokens; the one wait of a step for the device.
  std::vector<int64_t> LikeliestOf(const at::Tensor& hidden) const {
    const at::Tensor ids =
        at::argmax(decoder_.Logits(decoder_.FinalNorm(hidden)), -1).cpu().contiguous();
    const auto* data = ids.const_data_ptr<int64_t>();
    return {data, data + ids.numel()};
  }

  // Takes a generated token, and ends the sequence where it is the last.
  void Accept(size_t place, int64_t id) {
    const GenerationRequest& request = work_.request();
    Place& at = places_[place];
    const auto token = static_cast<int32_t>(id);
    const bool is_end = std::ranges::find(request.end_tokens, token) != request.end_tokens.end();
    if (!is_end) at.generated.push_back(token);
    const bool ends = is_end ||
                      static_cast<int64_t>(at.generated.size()) >= request.max_new_tokens ||
                      request.stops.AreIn(at.generated);
    next_ids_[place] = id;
    if (!ends) return;
    cache_.End(static_cast<int64_t>(place));
    next_ids_[place] = 0;
    --live_;
    work_.Finish({*std::exchange(at.row, std::nullopt), std::exchange(at.generated, {})});
  }

  const Decoder& decoder_;
  SharedWork& work_;
  LayerStream stream_;
  Prefill prefill_;
  KvCache cache_;
  std::vector<Place> places_;
  std::vector<int64_t> next_ids_;  // the tokens of the next step, by place
  size_t live_ = 0;
  PromptRows current_;
  size_t next_row_ = 0;  // of current_
};

// How the rows are spread over batches.
struct BatchPlan {
  int batches = 1;
  int64_t rows = 1;   // places of each
  int64_t width = 1;  // rows of its matrix products
};

std::string Gibibytes(int64_t bytes) {
  const std::string tenths = std::to_string(bytes / (int64_t{1} << 30) * 10 +
                                            bytes % (int64_t{1} << 30) * 10 / (int64_t{1} << 30));
  return (tenths.size() == 1 ? "0" : tenths.substr(0, tenths.size() - 1)) + "." + tenths.back() +
         " GiB";
}

BatchPlan PlanBatches(const RunnerState& state, int64_t rows, int64_t max_tokens) {
  const at::Device device = state.decoder.options().device();
  // The rest is for the activations of prompts.
  const int64_t room = FreeMemory(device) / (device.is_cpu() ? 2 : 4) * (device.is_cpu() ? 1 : 3);
  const int64_t bytes =
      KvCache::BytesPerRow(state.decoder.config(), max_tokens, state.decoder.options());
  const int64_t fitting = room / std::max<int64_t>(1, bytes);
  if (fitting < 1) {
    throw Error("generating: found room for " + Gibibytes(room) + " of cache, expected " +
                Gibibytes(bytes) + " for a sequence of " + std::to_string(max_tokens) + " tokens");
  }
  if (!device.is_cpu()) {
    const int64_t places = std::min({rows, fitting, kMostGpuRows});
    return {1, places, places};
  }
  // Streamed weights are placed for one pass at a time.
  const int64_t threads = state.decoder.streams() ? 1 : state.threads;
  const int64_t batches = std::min({threads, rows, fitting});
  const int64_t share = (rows + batches - 1) / batches;
  return {static_cast<int>(batches), std::min({share, fitting / batches, kCpuWidth}), kCpuWidth};
}

}  // namespace

void GenerateRows(RunnerState& state, const GenerationRequest& request,
                  const OnGeneratedRow& finished) {
  if (request.rows.empty()) return;
  size_t longest = 0;
  for (const GenerationRow& row : request.rows)
    longest = std::max(longest, request.prompts[row.prompt].size());
  const int64_t max_tokens = static_cast<int64_t>(longest) + request.max_new_tokens;
  const BatchPlan plan = PlanBatches(state, static_cast<int64_t>(request.rows.size()), max_tokens);
  SharedWork work(request, finished);
  ParallelLoop(state.threads, static_cast<size_t>(plan.batches), [&](size_t) {
    const c10::InferenceMode no_gradients;  // thread-local, so each thread needs its own
    const OperatorsOnOneThread same_sums;
    try {
      Batch(state, work, plan.rows, plan.width, max_tokens).Run();
    } catch (...) {
      work.Stop();  // the other batches need not go on
      throw;
    }
  });
}

}  // namespace kvtune
