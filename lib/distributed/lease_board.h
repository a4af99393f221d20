// Rank 0's side of the leases: gives requests to whichever process comes for one, takes part
// itself, gives expired leases to others, and returns the results in the order of the requests.
//
// In the store (docs/scale.md, "What a lease costs"): every process that wants work takes the next
// number of the counter "slots" and waits for the key "slot/NUMBER", in which rank 0 puts a
// request. So each request wakes one process, and none is taken twice. The result goes to
// "result/JOB/LEASE", then the lease's number is appended to "done/JOB". A lease expires when the
// process that holds its slot is silent; it is then put into the next slot. Whichever result is
// there first counts.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/distributed/heartbeat.h"
#include "lib/distributed/lease_times.h"
#include "lib/distributed/store.h"

namespace kvtune {

inline constexpr std::string_view kSlotCounter = "slots";
inline constexpr std::string_view kJoinedKey = "joined/";  // + rank: how many processes had it
inline constexpr std::string_view kEndKey = "end";         // how rank 0 ended
inline constexpr std::string_view kEndedWell = "well";
inline constexpr std::string_view kEndedWithError = "error";
inline constexpr std::string_view kSkippedSlot = "-";

std::string SlotKey(int64_t slot);
// What a slot holds: the key of the lease's result, the key of its job's list, and the request.
struct SlotContent {
  std::string result_key;
  std::string done_key;
  std::string lease;  // appended to the list
  std::string request;
};
std::string SlotText(const SlotContent& content);
// nullopt for kSkippedSlot and for any other text that SlotText has not written.
std::optional<SlotContent> ParseSlot(const std::string& text);

class LeaseBoard {
 public:
  // Returns the result of one of the requests.
  using Work = std::function<std::string(size_t lease)>;
  // Called once for each lease, when its result is there. Returns whether to go on.
  using OnResult = std::function<bool(size_t lease, const std::string& result)>;

  // REQUIRES: the store outlives the board; a Heartbeat of rank 0 exists.
  LeaseBoard(Store& store, int world, const LeaseTimes& times);
  LeaseBoard(const LeaseBoard&) = delete;
  LeaseBoard& operator=(const LeaseBoard&) = delete;

  // Returns when all results are there, or when `on_result` says so. Throws what the two throw, and
  // Error when the store is gone.
  void Run(std::span<const std::string> requests, const Work& work, const OnResult& on_result);
  // What Run does between two leases of this process: takes the results of others, and gives
  // expired leases away. `work` may call it from time to time while it is busy for long.
  void LookAround();

  // The processes that are alive, with this one.
  size_t ProcessCount();
  // Tells the others that there is nothing more to do, and waits until those that are alive have
  // gone. Does not throw.
  void End(std::string_view how) noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  struct Seen {
    Beat beat;
    Clock::time_point changed;
  };
  struct Job;

  // Beats, and has not said goodbye.
  bool IsAlive(const Seen& seen) const;
  void Look();  // at the beats of all processes
  bool IsLookDue() const { return Clock::now() - last_look_ >= times_.beat; }
  void Keep(Job& job, size_t lease, const std::string& result);
  void Issue(Job& job, size_t lease);
  std::optional<size_t> TakeOwn(const Job& job);
  void CollectLease(Job& job, size_t lease);
  void Collect(Job& job);
  void ReissueExpired(Job& job);
  bool IsExpired(Job& job, size_t lease, int64_t taken_slots);
  void Close(const Job& job);
  void ForgetLastJob();

  Store& store_;
  int world_;
  LeaseTimes times_;
  Job* job_ = nullptr;  // that is being run
  int64_t jobs_ = 0;
  int64_t issued_ = 0;     // slots that have a content
  int64_t own_slot_ = -1;  // taken by this process and not used yet
  std::map<int, Seen> seen_;
  Clock::time_point last_look_;
};

}  // namespace kvtune
