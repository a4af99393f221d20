// Says to the other processes that this one is alive, and notices when rank 0 is not any more.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "lib/distributed/lease_times.h"
#include "lib/distributed/store.h"

namespace kvtune {

inline constexpr int64_t kNoSlot = -1;
inline constexpr int64_t kGone = -2;  // the process has left by itself

// What a process says: a number that grows, and the slot that it works on or waits for.
struct Beat {
  int64_t count = 0;
  int64_t slot = kNoSlot;

  friend bool operator==(const Beat&, const Beat&) = default;
};
std::string BeatKey(int rank);
std::string BeatText(const Beat& beat);
// nullopt for a text that BeatText has not written.
std::optional<Beat> ParseBeat(const std::string& text);

class Heartbeat {
 public:
  // Called from a thread when rank 0 has gone and the work of this process does not notice it for
  // some seconds. May be empty.
  using OnLost = std::function<void(const std::string& message)>;

  // `store` is a connection of its own. Rank 0 watches nobody.
  Heartbeat(std::unique_ptr<Store> store, int rank, const LeaseTimes& times, OnLost on_lost);
  // Says goodbye, unless the store is gone.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // Says at once that this process holds the slot.
  void Hold(int64_t slot);
  // Why rank 0 is taken for gone; empty while it is there.
  std::string lost() const;

 private:
  using Clock = std::chrono::steady_clock;
  void Speak();
  // A thread of its own, because a call of the store may never return when its host is gone.
  void Watch();
  // Waits until the next beat is due; false when there is none. Returns the slot to say.
  bool WaitForBeat(int64_t& slot);

  std::unique_ptr<Store> store_;
  int rank_;
  LeaseTimes times_;
  OnLost on_lost_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int64_t slot_ = kNoSlot;
  bool is_new_ = false;  // the slot was not said yet
  bool ends_ = false;
  std::string lost_;
  Clock::time_point heard_;  // when rank 0 last gave a sign of life
  std::thread speaker_, watcher_;
};

}  // namespace kvtune
