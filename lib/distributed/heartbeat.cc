#include "lib/distributed/heartbeat.h"

#include <charconv>
#include <utility>

#include "lib/base/error.h"

namespace kvtune {
std::string BeatKey(int rank) { return "beat/" + std::to_string(rank); }

std::string BeatText(const Beat& beat) {
  return std::to_string(beat.count) + " " + std::to_string(beat.slot);
}

std::optional<Beat> ParseBeat(const std::string& text) {
  Beat beat;
  const char* end = text.data() + text.size();
  const auto [space, problem] = std::from_chars(text.data(), end, beat.count);
  if (problem != std::errc() || space == end || *space != ' ') return std::nullopt;
  const auto [stop, second_problem] = std::from_chars(space + 1, end, beat.slot);
  if (second_problem != std::errc() || stop != end) return std::nullopt;
  return beat;
}

Heartbeat::Heartbeat(std::unique_ptr<Store> store, int rank, const LeaseTimes& times,
                     OnLost on_lost)
    : store_(std::move(store)),
      rank_(rank),
      times_(times),
      on_lost_(std::move(on_lost)),
      heard_(Clock::now()) {
  store_->Set(BeatKey(rank_), BeatText({}));  // before anybody looks for it
  speaker_ = std::thread([this] { Speak(); });
  if (rank_ != 0) watcher_ = std::thread([this] { Watch(); });
}

Heartbeat::~Heartbeat() {
  {
    const std::scoped_lock lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  speaker_.join();
  if (watcher_.joinable()) watcher_.join();
}

void Heartbeat::Hold(int64_t slot) {
  {
    const std::scoped_lock lock(mutex_);
    slot_ = slot;
    is_new_ = true;
  }
  changed_.notify_all();
}

std::string Heartbeat::lost() const {
  const std::scoped_lock lock(mutex_);
  return lost_;
}

bool Heartbeat::WaitForBeat(int64_t& slot) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, times_.beat, [&] { return ends_ || is_new_; });
  is_new_ = false;
  slot = slot_;
  return !ends_;
}

void Heartbeat::Speak() {
  std::string last;
  int64_t slot = kNoSlot;
  try {
    int64_t count = 1;
    for (; WaitForBeat(slot); ++count) {
      store_->Set(BeatKey(rank_), BeatText({count, slot}));
      if (rank_ == 0) continue;
      const std::string of_first = store_->Get(BeatKey(0)).value_or("");
      if (of_first == last) continue;
      last = of_first;
      const std::scoped_lock lock(mutex_);
      heard_ = Clock::now();
    }
    store_->Set(BeatKey(rank_), BeatText({count, kGone}));
  } catch (const Error& error) {  // rank 0 meets the same error when it asks the store
    const std::scoped_lock lock(mutex_);
    lost_ = error.what();
    changed_.notify_all();
  }
}

void Heartbeat::Watch() {
  std::unique_lock lock(mutex_);
  while (!ends_ && lost_.empty()) {
    changed_.wait_for(lock, times_.beat, [&] { return ends_ || !lost_.empty(); });
    if (lost_.empty() && Clock::now() - heard_ > times_.silence) {
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(times_.silence);
      lost_ = "serving rank 0: found it silent for " + std::to_string(seconds.count()) +
              " s, expected a sign of life every few seconds (the same command goes on from what "
              "is kept)";
    }
  }
  if (ends_) return;
  const bool noticed = changed_.wait_for(lock, times_.slice, [&] { return ends_; });
  if (!noticed && on_lost_) on_lost_(lost_);
}

}  // namespace kvtune
