#include "lib/distributed/lease_board.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <thread>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/log.h"

namespace kvtune {
namespace {

constexpr char kFieldEnd = '\n';

// The list of a job's leases whose results are in the store.
std::string DoneKey(const std::string& job) { return "done/" + job; }

std::string LeaseBytes(size_t lease) {
  const auto number = static_cast<uint32_t>(lease);
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

}  // namespace

std::string SlotKey(int64_t slot) { return "slot/" + std::to_string(slot); }

std::string SlotText(const SlotContent& content) {
  return content.result_key + kFieldEnd + content.done_key + kFieldEnd + content.lease +
         content.request;
}

std::optional<SlotContent> ParseSlot(const std::string& text) {
  const size_t first = text.find(kFieldEnd);
  if (first == std::string::npos) return std::nullopt;
  const size_t second = text.find(kFieldEnd, first + 1);
  if (second == std::string::npos || text.size() < second + 1 + sizeof(uint32_t)) {
    return std::nullopt;
  }
  return SlotContent{.result_key = text.substr(0, first),
                     .done_key = text.substr(first + 1, second - first - 1),
                     .lease = text.substr(second + 1, sizeof(uint32_t)),
                     .request = text.substr(second + 1 + sizeof(uint32_t))};
}

struct LeaseBoard::Job {
  std::span<const std::string> requests;
  const OnResult& on_result;
  std::string name;
  int64_t first_slot = 0;
  std::vector<size_t> lease_of_slot = {};   // from first_slot on
  std::vector<int64_t> slot_of_lease = {};  // the newest
  // Since when nobody says to hold the slot of a lease that was taken.
  std::map<size_t, Clock::time_point> orphaned = {};
  std::optional<size_t> own = {};  // the lease that this process works on, which holds no slot
  std::vector<bool> is_done = {};
  size_t done = 0;
  bool goes_on = true;
  size_t listed = 0;  // bytes of the list of done leases that were read

  std::string result_key(size_t lease) const {
    return "result/" + name + "/" + std::to_string(lease);
  }
  std::string done_key() const { return DoneKey(name); }
  size_t first_undone() const {
    return static_cast<size_t>(std::ranges::find(is_done, false) - is_done.begin());
  }
};

LeaseBoard::LeaseBoard(Store& store, int world, const LeaseTimes& times)
    : store_(store), world_(world), times_(times), last_look_(Clock::now() - times.beat) {}

bool LeaseBoard::IsAlive(const Seen& seen) const {
  return seen.beat.slot != kGone && Clock::now() - seen.changed < times_.expiry;
}

void LeaseBoard::Look() {
  const Clock::time_point now = Clock::now();
  last_look_ = now;
  for (int rank = 1; rank < world_; ++rank) {
    const std::optional<std::string> text = store_.Get(BeatKey(rank));
    if (!text) continue;  // it has not come yet
    const Beat beat = ParseBeat(*text).value_or(Beat{});
    const auto [seen, is_new] = seen_.try_emplace(rank, Seen{beat, now});
    if (is_new) {
      LogDetail("rank " + std::to_string(rank) + " of " + std::to_string(world_) + " has come");
    } else if (seen->second.beat != beat) {
      seen->second = {beat, now};
    }
  }
}

size_t LeaseBoard::ProcessCount() {
  if (IsLookDue()) Look();
  const auto alive =
      std::ranges::count_if(seen_, [&](const auto& of_rank) { return IsAlive(of_rank.second); });
  return 1 + static_cast<size_t>(alive);
}

void LeaseBoard::Issue(Job& job, size_t lease) {
  job.slot_of_lease[lease] = issued_;
  job.lease_of_slot.push_back(lease);
  store_.Set(SlotKey(issued_), SlotText({.result_key = job.result_key(lease),
                                         .done_key = job.done_key(),
                                         .lease = LeaseBytes(lease),
                                         .request = job.requests[lease]}));
  ++issued_;
}

// Slots of earlier jobs that this process took too late are passed over.
std::optional<size_t> LeaseBoard::TakeOwn(const Job& job) {
  while (true) {
    if (own_slot_ < 0) own_slot_ = store_.Add(std::string(kSlotCounter), 1) - 1;
    if (own_slot_ >= issued_) return std::nullopt;
    const int64_t slot = std::exchange(own_slot_, -1);
    if (slot < job.first_slot) continue;
    const size_t lease = job.lease_of_slot[static_cast<size_t>(slot - job.first_slot)];
    if (!job.is_done[lease]) return lease;
  }
}

void LeaseBoard::Keep(Job& job, size_t lease, const std::string& result) {
  if (job.is_done[lease]) return;
  job.is_done[lease] = true;
  ++job.done;
  if (job.goes_on) job.goes_on = job.on_result(lease, result);
}

void LeaseBoard::CollectLease(Job& job, size_t lease) {
  if (job.is_done[lease]) return;  // a late duplicate
  const std::optional<std::string> result = store_.Get(job.result_key(lease));
  if (!result) return;
  store_.Remove(job.result_key(lease));
  Keep(job, lease, *result);
}

void LeaseBoard::Collect(Job& job) {
  const std::string list = store_.Get(job.done_key()).value_or("");
  for (; job.listed + sizeof(uint32_t) <= list.size(); job.listed += sizeof(uint32_t)) {
    uint32_t lease = 0;
    std::memcpy(&lease, list.data() + job.listed, sizeof(lease));
    if (lease < job.is_done.size()) CollectLease(job, lease);
  }
}

bool LeaseBoard::IsExpired(Job& job, size_t lease, int64_t taken_slots) {
  const int64_t slot = job.slot_of_lease[lease];
  if (slot >= taken_slots) return false;  // it waits for a process
  const auto holder = std::ranges::find_if(
      seen_, [&](const auto& of_rank) { return of_rank.second.beat.slot == slot; });
  if (holder != seen_.end()) {
    if (IsAlive(holder->second)) return false;
    LogWarning(
        "rank " + std::to_string(holder->first) + " was silent for " +
        std::to_string(std::chrono::duration_cast<std::chrono::seconds>(times_.expiry).count()) +
        " s; its work goes to another process");
    return true;
  }
  // Its process ended before it could say so, or has gone on to another slot, and the result is on
  // its way.
  const auto [since, is_new] = job.orphaned.try_emplace(lease, Clock::now());
  return Clock::now() - since->second >= times_.expiry;
}

void LeaseBoard::ReissueExpired(Job& job) {
  if (!IsLookDue()) return;
  Look();
  const int64_t taken = store_.Add(std::string(kSlotCounter), 0);
  for (size_t lease = 0; lease < job.is_done.size(); ++lease) {
    if (job.is_done[lease] || lease == job.own || !IsExpired(job, lease, taken)) continue;
    job.orphaned.erase(lease);
    Issue(job, lease);
  }
}

// Empties the slots, so that a request is not worked on any more. Their keys stay: a process that
// has taken one late must find it.
void LeaseBoard::Close(const Job& job) {
  for (int64_t slot = job.first_slot; slot < issued_; ++slot) {
    store_.Set(SlotKey(slot), std::string(kSkippedSlot));
  }
  store_.Remove(job.done_key());
}

// A result is there before the list of its job names it, so that the process which gave the last
// one may write to the list after the job was closed.
void LeaseBoard::ForgetLastJob() {
  if (jobs_ > 0) store_.Remove(DoneKey(std::to_string(jobs_ - 1)));
}

void LeaseBoard::LookAround() {
  Collect(*job_);
  ReissueExpired(*job_);
}

void LeaseBoard::Run(std::span<const std::string> requests, const Work& work,
                     const OnResult& on_result) {
  ForgetLastJob();
  Job job{.requests = requests,
          .on_result = on_result,
          .name = std::to_string(jobs_++),
          .first_slot = issued_};
  job.slot_of_lease.resize(requests.size());
  job.is_done.resize(requests.size());
  for (size_t lease = 0; lease < requests.size(); ++lease) Issue(job, lease);
  job_ = &job;  // nothing looks at it after this call
  try {
    while (job.goes_on && job.done < requests.size()) {
      job.own = TakeOwn(job);
      if (job.own) {
        Keep(job, *job.own, work(*job.own));
        job.own.reset();
      } else if (const size_t next = job.first_undone();
                 store_.Wait(job.result_key(next), times_.poll)) {
        CollectLease(job, next);
      }
      LookAround();
    }
  } catch (...) {
    Close(job);
    throw;
  }
  Close(job);
}

void LeaseBoard::End(std::string_view how) noexcept {
  try {
    store_.Set(std::string(kEndKey), std::string(how));
    const int64_t taken = store_.Add(std::string(kSlotCounter), 0);
    for (int64_t slot = issued_; slot < taken; ++slot) {
      store_.Set(SlotKey(slot), std::string(kSkippedSlot));
    }
    const Clock::time_point began = Clock::now();
    for (LeaseTimes::Milliseconds pause(10);; pause = std::min(2 * pause, times_.poll)) {
      Look();
      const bool all_left =
          std::ranges::none_of(seen_, [&](const auto& of_rank) { return IsAlive(of_rank.second); });
      const bool all_came = std::ssize(seen_) == world_ - 1;
      const bool is_late = Clock::now() - began > times_.farewell;
      if (all_left && (all_came || is_late)) break;
      if (is_late && how != kEndedWell) break;  // the others end without it
      std::this_thread::sleep_for(pause);
    }
    ForgetLastJob();
    if (std::ssize(seen_) < world_ - 1) {
      LogWarning("found " + std::to_string(seen_.size() + 1) + " of " + std::to_string(world_) +
                 " processes, expected all that the environment promises; the others did no work");
    }
  } catch (const std::exception& error) {
    LogDetail(std::string("saying goodbye: ") + error.what());
  }
}

}  // namespace kvtune
