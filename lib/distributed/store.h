// The port to a key-value store that the processes of a run share: the few calls of c10d's stores
// that leases need. tcp_store.h opens the real one, and tests have one in memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace kvtune {

// One connection, for one thread. Every call throws Error when the store does not answer any more.
class Store {
 public:
  virtual ~Store() = default;

  // Another connection to the same store, for another thread.
  virtual std::unique_ptr<Store> Connect() = 0;

  virtual void Set(const std::string& key, const std::string& value) = 0;
  // Waits until there is such a key; false when there is none within `patience`.
  virtual bool Wait(const std::string& key, std::chrono::milliseconds patience) = 0;
  // The value of a key; nullopt when there is none now.
  virtual std::optional<std::string> Get(const std::string& key) = 0;
  // Adds to a counter, which begins at 0, and returns what it is then.
  virtual int64_t Add(const std::string& key, int64_t number) = 0;
  // Appends to a value, which begins empty.
  virtual void Append(const std::string& key, const std::string& value) = 0;
  virtual void Remove(const std::string& key) = 0;
};

}  // namespace kvtune
