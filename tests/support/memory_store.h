// A Store in memory, for threads that stand for processes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "lib/base/error.h"
#include "lib/distributed/lease_times.h"
#include "lib/distributed/store.h"

namespace kvtune {

// Times at which processes that are threads of a test find each other dead soon. A machine that has
// other work may let a thread wait for a second.
inline constexpr LeaseTimes kQuickTimes{.beat = std::chrono::milliseconds(20),
                                        .expiry = std::chrono::milliseconds(2000),
                                        .silence = std::chrono::milliseconds(3000),
                                        .slice = std::chrono::milliseconds(50),
                                        .poll = std::chrono::milliseconds(5),
                                        .greeting = std::chrono::milliseconds(1000),
                                        .farewell = std::chrono::milliseconds(100)};

// The same for tests in which nobody dies.
inline constexpr LeaseTimes kPatientTimes{.beat = kQuickTimes.beat,
                                          .expiry = std::chrono::minutes(2),
                                          .silence = std::chrono::minutes(2),
                                          .slice = kQuickTimes.slice,
                                          .poll = kQuickTimes.poll,
                                          .greeting = std::chrono::minutes(2),
                                          .farewell = kQuickTimes.farewell};

// What all connections share. A test can take it away, as a host that dies does.
struct MemoryStoreState {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::string> values;
  std::map<std::string, int64_t> counters;
  int64_t calls = 0;
  bool is_gone = false;

  void TakeAway() {
    const std::scoped_lock lock(mutex);
    is_gone = true;
    changed.notify_all();
  }
  std::optional<std::string> ValueOf(const std::string& key) {
    const std::scoped_lock lock(mutex);
    const auto found = values.find(key);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  }
};

class MemoryStore : public Store {
 public:
  explicit MemoryStore(std::shared_ptr<MemoryStoreState> state) : state_(std::move(state)) {}

  std::unique_ptr<Store> Connect() override { return std::make_unique<MemoryStore>(state_); }

  void Set(const std::string& key, const std::string& value) override {
    const std::unique_lock lock = Begin();
    state_->values[key] = value;
    state_->changed.notify_all();
  }
  bool Wait(const std::string& key, std::chrono::milliseconds patience) override {
    std::unique_lock lock = Begin();
    const bool found = state_->changed.wait_for(
        lock, patience, [&] { return state_->is_gone || state_->values.contains(key); });
    RequireThere();
    return found;
  }
  std::optional<std::string> Get(const std::string& key) override {
    const std::unique_lock lock = Begin();
    const auto found = state_->values.find(key);
    return found == state_->values.end() ? std::nullopt : std::optional(found->second);
  }
  int64_t Add(const std::string& key, int64_t number) override {
    const std::unique_lock lock = Begin();
    return state_->counters[key] += number;
  }
  void Append(const std::string& key, const std::string& value) override {
    const std::unique_lock lock = Begin();
    state_->values[key] += value;
    state_->changed.notify_all();
  }
  void Remove(const std::string& key) override {
    const std::unique_lock lock = Begin();
    state_->values.erase(key);
  }

 private:
  std::unique_lock<std::mutex> Begin() {
    std::unique_lock lock(state_->mutex);
    ++state_->calls;
    RequireThere();
    return lock;
  }
  void RequireThere() const {
    if (state_->is_gone) throw Error("asking the store: found no answer, expected one");
  }

  std::shared_ptr<MemoryStoreState> state_;
};

}  // namespace kvtune
