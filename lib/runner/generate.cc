#include "lib/runner/generate.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/kernels/parallel_loop.h"
#include "lib/runner/cache_forms.h"
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
// Tokens that a GPU prefills together, a prompt once for each of its plans. More of them would fill
// it no better.
constexpr int64_t kMostPrefillTokens = 1 << 16;

// Rows of one prompt, in the order of the request.
struct PromptRows {
  size_t prompt = 0;
  std::vector<size_t> rows;
};

// What took how long, in seconds.
struct Times {
  double prompts = 0;
  double steps = 0;
  int64_t step_count = 0;
  int64_t tokens = 0;
};

// Adds the seconds that it lives.
class Timer {
 public:
  explicit Timer(double& seconds) : seconds_(seconds) {}
  ~Timer() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// That a sequence of this prompt can come to have.
int64_t MostTokens(const GenerationRequest& request, size_t prompt) {
  return std::ssize(request.prompts[prompt]) + request.max_new_tokens;
}

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

  // Batches that work side by side add up.
  void Add(const Times& times) {
    const std::lock_guard lock(mutex_);
    times_.prompts += times.prompts;
    times_.steps += times.steps;
    times_.step_count += times.step_count;
    times_.tokens += times.tokens;
  }
  const Times& times() const { return times_; }

 private:
  const GenerationRequest& request_;
  const OnGeneratedRow& finished_;
  std::deque<PromptRows> waiting_;
  std::mutex mutex_;
  std::atomic<bool> goes_on_ = true;
  Times times_;
};

// How the rows are spread over batches.
struct BatchPlan {
  int batches = 1;
  CacheSize cache;       // of each, whose rows are its places
  int64_t width = 1;     // rows of its matrix products, at least as many
  int host_threads = 1;  // that look at what a step of a batch has generated
};

// Sequences that take their steps together.
class Batch {
 public:
  Batch(RunnerState& state, SharedWork& work, const SharedBeginning& beginning,
        const BatchPlan& plan)
      : decoder_(state.decoder),
        work_(work),
        host_threads_(plan.host_threads),
        prefills_by_plan_(state.options.prefill == PrefillMode::kQuantized),
        stream_(state.decoder),
        prefill_(state.decoder, state.options.prefill, beginning),
        cache_(state.decoder, plan.cache),
        places_(static_cast<size_t>(plan.cache.rows)),
        next_ids_(static_cast<size_t>(plan.width), 0) {}

  void Run() {
    while (work_.goes_on()) {
      Refill();
      if (live_ == 0) return;
      Step();
    }
  }

  const Times& times() const { return times_; }

 private:
  struct Place {
    std::optional<size_t> row;  // of the request
    TokenIds generated;
  };
  struct NewToken {
    size_t place = 0;
    int64_t id = 0;
  };

  std::vector<int64_t> FreePlaces() const {
    std::vector<int64_t> free;
    for (size_t i = 0; i < places_.size(); ++i) {
      if (!places_[i].row) free.push_back(static_cast<int64_t>(i));
    }
    return free;
  }

  // Gives free places to rows that wait, prompt by prompt, as long as their memory is free too.
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
        if (next_row_ == current_.rows.size() || placed.size() == MostPlans()) break;
        const size_t row = current_.rows[next_row_];
        const PrecisionPlan& plan = work_.request().plans[work_.request().rows[row].plan];
        if (!cache_.Admit(place, plan, MostTokens(work_.request(), current_.prompt))) break;
        ++next_row_;
        places_[static_cast<size_t>(place)] = {row, {}};
        placed.push_back({place, plan});
      }
      if (placed.empty()) return;
      live_ += placed.size();
      Begin(placed);
    }
  }

  // The most plans under which the current prompt may begin together.
  size_t MostPlans() const {
    if (decoder_.options().device().is_cpu() || !prefills_by_plan_) return places_.size();
    const size_t tokens = work_.request().prompts[current_.prompt].size();
    return std::max<size_t>(1, kMostPrefillTokens / tokens);
  }

  void Begin(const std::vector<PlacedPlan>& placed) {
    const Timer timer(times_.prompts);
    const at::Tensor last = prefill_.Fill(work_.request().prompts[current_.prompt], placed, cache_);
    // On a CPU each sequence by itself, so that it does not matter how many begin together.
    const int64_t at_a_time = last.device().is_cpu() ? 1 : last.size(0);
    for (int64_t begin = 0; begin < last.size(0); begin += at_a_time) {
      const std::vector<int64_t> ids = LikeliestOf(last.narrow(0, begin, at_a_time));
      std::vector<NewToken> tokens;
      for (size_t i = 0; i < ids.size(); ++i) {
        const int64_t place = placed[static_cast<size_t>(begin) + i].row;
        tokens.push_back({static_cast<size_t>(place), ids[i]});
      }
      Accept(tokens);
    }
  }

  void Step() {
    const Timer timer(times_.steps);
    ++times_.step_count;
    const auto width = static_cast<int64_t>(next_ids_.size());
    const at::Tensor ids =
        at::from_blob(next_ids_.data(), {width}, at::kLong).to(decoder_.options().device());
    at::Tensor hidden = decoder_.Embed(ids);
    const NewestTokens newest = NextTokens(width);
    for (size_t layer = 0; layer < decoder_.config().layers.size(); ++layer) {
      stream_.Enter(layer);
      hidden = decoder_.BroughtTo(layer, std::move(hidden));
      const at::Tensor attention =
          cache_.Attend(layer, decoder_.ProjectNewest(layer, hidden, newest));
      decoder_.AddAttentionAndMlp(layer, hidden, attention);
    }
    stream_.Leave();
    hidden = decoder_.BroughtHome(std::move(hidden));
    cache_.EndStep();
    const std::vector<int64_t> likeliest = LikeliestOf(hidden);
    std::vector<NewToken> tokens;
    for (size_t place = 0; place < places_.size(); ++place) {
      if (places_[place].row) tokens.push_back({place, likeliest[place]});
    }
    Accept(tokens);
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

  // Takes generated tokens, and ends the sequences of which they are the last.
  void Accept(const std::vector<NewToken>& tokens) {
    std::vector<char> ends(tokens.size(), 0);
    ParallelLoop(host_threads_, tokens.size(), [&](size_t i) { ends[i] = Take(tokens[i]); });
    times_.tokens += std::ssize(tokens);
    for (size_t i = 0; i < tokens.size(); ++i) {
      const size_t place = tokens[i].place;
      next_ids_[place] = ends[i] ? 0 : tokens[i].id;
      if (!ends[i]) continue;
      cache_.End(static_cast<int64_t>(place));
      --live_;
      Place& at = places_[place];
      work_.Finish({*std::exchange(at.row, std::nullopt), std::exchange(at.generated, {})});
    }
  }

  // Adds a token to its sequence; returns whether that ends.
  bool Take(const NewToken& newest) {
    const GenerationRequest& request = work_.request();
    TokenIds& generated = places_[newest.place].generated;
    const auto token = static_cast<int32_t>(newest.id);
    const bool is_end = std::ranges::find(request.end_tokens, token) != request.end_tokens.end();
    if (!is_end) generated.push_back(token);
    return is_end || static_cast<int64_t>(generated.size()) >= request.max_new_tokens ||
           request.stops.AreIn(generated);
  }

  const Decoder& decoder_;
  SharedWork& work_;
  int host_threads_;
  bool prefills_by_plan_;
  LayerStream stream_;
  Prefill prefill_;
  KvCache cache_;
  std::vector<Place> places_;
  std::vector<int64_t> next_ids_;  // the tokens of the next step, by place
  size_t live_ = 0;
  Times times_;
  PromptRows current_;
  size_t next_row_ = 0;  // of current_
};

std::string Gibibytes(int64_t bytes) {
  const std::string tenths = std::to_string(bytes / (int64_t{1} << 30) * 10 +
                                            bytes % (int64_t{1} << 30) * 10 / (int64_t{1} << 30));
  return (tenths.size() == 1 ? "0" : tenths.substr(0, tenths.size() - 1)) + "." + tenths.back() +
         " GiB";
}

// The packed bytes of the sequences of a request on one stage.
struct PackedNeed {
  int64_t all = 0;
  int64_t largest = 0;
};

std::vector<PackedNeed> PackedNeeds(const Decoder& decoder, const CacheForms& forms,
                                    const GenerationRequest& request) {
  std::vector<PackedNeed> needs(decoder.stages().size());
  std::map<std::pair<size_t, int64_t>, std::vector<int64_t>> known;  // by plan and tokens
  for (const GenerationRow& row : request.rows) {
    const int64_t tokens = MostTokens(request, row.prompt);
    const auto [bytes, is_new] = known.try_emplace({row.plan, tokens});
    if (is_new) bytes->second = PackedBytes(decoder, forms, request.plans[row.plan], tokens);
    for (size_t stage = 0; stage < needs.size(); ++stage) {
      needs[stage].all += bytes->second[stage];
      needs[stage].largest = std::max(needs[stage].largest, bytes->second[stage]);
    }
  }
  return needs;
}

// The memory of a stage for caches; the rest is for the activations of prompts.
int64_t RoomOn(const at::Device& device) {
  const int64_t free = FreeMemory(device);
  return device.is_cpu() ? free / 2 : free / 8 * 7;
}

// The most rows whose caches fit, and the memory for what of them is packed. A packed sequence
// takes what its own plan needs, so as many fit as there is room for sequences of the mean size.
// Throws Error where not even one fits.
CacheSize FittingCache(const Decoder& decoder, const GenerationRequest& request) {
  CacheSize size{.forms = FormsFor(decoder, request.plans)};
  for (const GenerationRow& row : request.rows)
    size.max_tokens = std::max(size.max_tokens, MostTokens(request, row.prompt));
  std::vector<int64_t> held = FakeQuantizedBytes(decoder, size.forms, size.max_tokens);
  const std::vector<PackedNeed> packed = PackedNeeds(decoder, size.forms, request);
  // All parts of a CPU share its memory, and nothing is packed there.
  if (decoder.options().device().is_cpu())
    held = {std::accumulate(held.begin(), held.end(), int64_t{0})};
  const auto all_rows = std::ssize(request.rows);
  std::vector<int64_t> rooms;
  size.rows = std::numeric_limits<int64_t>::max();
  for (size_t stage = 0; stage < held.size(); ++stage) {
    rooms.push_back(RoomOn(decoder.stages()[stage]));
    const int64_t mean = (packed[stage].all + all_rows - 1) / all_rows;
    const int64_t largest = packed[stage].largest;
    size.rows = std::min({size.rows, rooms[stage] / std::max<int64_t>(1, held[stage] + mean),
                          (rooms[stage] - largest) / std::max<int64_t>(1, held[stage])});
    if (rooms[stage] >= held[stage] + largest) continue;
    throw Error("generating: found room for " + Gibibytes(rooms[stage]) + " of cache, expected " +
                Gibibytes(held[stage] + largest) + " for a sequence of " +
                std::to_string(size.max_tokens) + " tokens");
  }
  size.rows = std::max<int64_t>(1, size.rows);
  for (size_t stage = 0; stage < held.size(); ++stage)
    size.packed_bytes.push_back(
        std::min(packed[stage].all, rooms[stage] - std::min(size.rows, all_rows) * held[stage]));
  return size;
}

BatchPlan PlanBatches(const RunnerState& state, const GenerationRequest& request) {
  const at::Device device = state.decoder.options().device();
  const auto rows = std::ssize(request.rows);
  CacheSize cache = FittingCache(state.decoder, request);
  const auto shared_by = [](int64_t count, int64_t parts) { return (count + parts - 1) / parts; };
  if (!device.is_cpu()) {
    // As many places as sequences of equal lengths need in the fewest turns.
    const int64_t most = std::min({rows, cache.rows, kMostGpuRows});
    cache.rows = shared_by(rows, shared_by(rows, most));
    const int64_t places = cache.rows;
    return {1, std::move(cache), places, at::get_num_threads()};
  }
  // Streamed weights are placed for one pass at a time.
  const int64_t threads = state.decoder.streams() ? 1 : state.threads;
  const int64_t batches = std::min({threads, rows, cache.rows});
  cache.rows = std::min({shared_by(rows, batches), cache.rows / batches, kCpuWidth});
  return {static_cast<int>(batches), std::move(cache), kCpuWidth};
}

// The pass over what all prompts begin with. None where the angles of a prompt's first tokens
// depend on its length, or where it would take too much memory.
SharedBeginning BeginningOf(RunnerState& state, const GenerationRequest& request) {
  const ModelConfig& config = state.decoder.config();
  const bool angles_depend = std::ranges::any_of(
      config.ropes, [](const RopeConfig& rope) { return rope.type == RopeType::kLongRope; });
  if (request.shared_tokens == 0 || angles_depend) return {};
  std::vector<PrecisionPlan> plans(request.plans.begin(), request.plans.end());
  if (state.options.prefill == PrefillMode::kExact)
    plans = {PrecisionPlan::Uniform(kExactPair, config.layers.size())};
  const at::TensorOptions& options = state.decoder.options();
  const int64_t bytes = SharedBeginning::Bytes(config, request.shared_tokens, plans, options);
  if (bytes > FreeMemory(options.device()) / 4) return {};
  const TokenIds& prompt = request.prompts[request.rows.front().prompt];
  return {state.decoder, {prompt.begin(), prompt.begin() + request.shared_tokens}, plans};
}

std::string Seconds(double seconds) {
  const auto hundredths = static_cast<int64_t>(seconds * 100);
  const std::string digits = std::to_string(hundredths % 100);
  return std::to_string(hundredths / 100) + (digits.size() == 1 ? ".0" : ".") + digits + " s";
}

void Report(const Times& times, const BatchPlan& plan) {
  LogDetail("generated " + std::to_string(times.tokens) + " tokens in " +
            std::to_string(plan.batches) + " batches of up to " + std::to_string(plan.cache.rows) +
            " sequences: prompts " + Seconds(times.prompts) + ", " +
            std::to_string(times.step_count) + " steps " + Seconds(times.steps) +
            "; their cache: " + DescriptionOf(plan.cache.forms));
}

}  // namespace

void GenerateRows(RunnerState& state, const GenerationRequest& request,
                  const OnGeneratedRow& finished) {
  if (request.rows.empty()) return;
  // What earlier requests have left behind counts as free then.
  for (const at::Device& device : state.decoder.stages()) ReturnUnusedMemory(device);
  const SharedBeginning beginning = [&] {
    const c10::InferenceMode no_gradients;
    const OperatorsOnOneThread same_sums;
    return BeginningOf(state, request);
  }();
  const BatchPlan plan = PlanBatches(state, request);
  SharedWork work(request, finished);
  ParallelLoop(state.threads, static_cast<size_t>(plan.batches), [&](size_t) {
    const c10::InferenceMode no_gradients;  // thread-local, so each thread needs its own
    const OperatorsOnOneThread same_sums;
    try {
      Batch batch(state, work, beginning, plan);
      batch.Run();
      work.Add(batch.times());
    } catch (...) {
      work.Stop();  // the other batches need not go on
      throw;
    }
  });
  Report(work.times(), plan);
}

}  // namespace kvtune
