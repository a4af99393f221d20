#include "lib/distributed/lease_worker.h"

#include <chrono>
#include <thread>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/split.h"
#include "lib/distributed/lease_board.h"

namespace kvtune {
namespace {

constexpr char kGreetingKey[] = "greeting";
constexpr char kModelKey[] = "model";

std::string TextOf(const RunModel& model) {
  return model.hash + "\n" + model.tokenizer + "\n" + model.device + "\n" + model.data_type + "\n" +
         model.prefill;
}

std::string TextOf(const Greeting& greeting) {
  return greeting.version + "\n" + std::to_string(greeting.world);
}

// Compares what this process has with what rank 0 says, line by line.
void RequireSame(const std::string& own, const std::string& of_first,
                 const std::vector<std::string>& names) {
  const std::vector<std::string> ours = SplitAt('\n', own), theirs = SplitAt('\n', of_first);
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string expected = i < theirs.size() ? theirs[i] : "nothing";
    if (ours[i] == expected) continue;
    throw Error("joining the run: found the " + names[i] + " " + ours[i] + ", expected " +
                expected + " as rank 0 has");
  }
}

}  // namespace

void Greet(Store& store, const Greeting& greeting) {
  if (store.Add(std::string(kJoinedKey) + "0", 1) > 1) {
    throw Error(
        "opening the store: found that another run uses it, expected a store of its own (set "
        "MASTER_PORT)");
  }
  store.Set(kGreetingKey, TextOf(greeting));
}

void ShowModel(Store& store, const RunModel& model) { store.Set(kModelKey, TextOf(model)); }

void Join(Store& store, const Ranks& ranks, const Greeting& greeting, const LeaseTimes& times) {
  if (!store.Wait(kGreetingKey, times.greeting)) {
    throw Error("joining the run: found no rank 0, expected its greeting in the store");
  }
  RequireSame(TextOf(greeting), store.Get(kGreetingKey).value_or(""),
              {"version", "number of processes"});
  const std::string rank = std::to_string(ranks.rank);
  if (store.Add(std::string(kJoinedKey) + rank, 1) == 1) return;
  // Somebody had this rank. Where it is gone, this process takes its place.
  const std::string before = store.Get(BeatKey(ranks.rank)).value_or("");
  const auto until = std::chrono::steady_clock::now() + times.expiry;
  while (std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(times.beat);
    if (store.Get(BeatKey(ranks.rank)).value_or("") == before) continue;
    throw Error(
        "joining the run: found another process of rank " + rank +
        " at work, expected one for each rank (two runs on one store need two MASTER_PORTs)");
  }
}

bool LeaseWorker::HasEnded() {
  const std::optional<std::string> end = store_.Get(std::string(kEndKey));
  if (end && *end != kEndedWell) {
    throw RankZeroFailed(
        "serving rank 0: found that it ended with an error, which stands in its own messages");
  }
  return end.has_value();
}

std::optional<std::string> LeaseWorker::Await(const std::string& key) {
  while (!store_.Wait(key, times_.slice)) {
    if (const std::string lost = heartbeat_.lost(); !lost.empty()) throw Error(lost);
    if (HasEnded()) return std::nullopt;
  }
  return store_.Get(key);
}

bool LeaseWorker::CompareModel(const RunModel& model) {
  const std::optional<std::string> of_first = Await(kModelKey);
  if (!of_first) return false;
  RequireSame(TextOf(model), *of_first,
              {"model", "tokenizer", "kind of device", "data type", "prefill"});
  return true;
}

void LeaseWorker::Serve(const Work& work) {
  while (true) {
    slot_ = store_.Add(std::string(kSlotCounter), 1) - 1;
    heartbeat_.Hold(slot_);
    // Asked after the slot is taken: rank 0 fills the slots that are taken when it has ended.
    if (HasEnded()) return;
    const std::optional<std::string> text = Await(SlotKey(slot_));
    if (!text) return;
    const std::optional<SlotContent> content = ParseSlot(*text);
    if (!content) continue;
    is_wanted_ = true;
    asked_ = std::chrono::steady_clock::now();
    const std::string result = work(content->request);
    if (!is_wanted_) continue;
    store_.Set(content->result_key, result);
    store_.Append(content->done_key, content->lease);
  }
}

bool LeaseWorker::IsWanted() {
  const auto now = std::chrono::steady_clock::now();
  if (!is_wanted_ || now - asked_ < times_.beat) return is_wanted_;
  asked_ = now;
  is_wanted_ = store_.Get(SlotKey(slot_)) != kSkippedSlot;
  return is_wanted_;
}

}  // namespace kvtune
