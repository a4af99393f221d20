#include "lib/distributed/tcp_store.h"

#include <c10/util/Logging.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "lib/base/error.h"

namespace kvtune {
namespace {

std::vector<uint8_t> BytesOf(const std::string& text) { return {text.begin(), text.end()}; }
std::string TextOf(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

std::string PlaceOf(const Ranks& ranks) { return ranks.address + ":" + std::to_string(ranks.port); }

// The store answered a moment ago, so that it is gone when it does not now.
constexpr std::chrono::seconds kSecondPatience{10};
// c10d's own pauses grow, and the last one may take as long again as all that it was given. So it
// is given little at a time. The pause is for what fails at once, as a host without an address.
constexpr std::chrono::seconds kOneTry{3};
constexpr std::chrono::milliseconds kPause{500};

// c10d logs a warning whenever a wait is over, which is the usual thing here, and what it fails in
// is an Error of ours.
void SilenceTorch() {
  constexpr int kFatalOnly = 3;
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = kFatalOnly;
}

class TcpStore : public Store {
 public:
  // `patience` is for answers of the store, options.timeout for the connection.
  TcpStore(Ranks ranks, const c10d::TCPStoreOptions& options, std::chrono::milliseconds patience)
      : ranks_(std::move(ranks)), options_(options) {
    store_ = c10::make_intrusive<c10d::TCPStore>(ranks_.address, options_);
    store_->setTimeout(patience);
  }

  std::unique_ptr<Store> Connect() override {
    c10d::TCPStoreOptions options = options_;
    options.isServer = false;
    options.timeout = kSecondPatience;
    return Ask([&] { return std::make_unique<TcpStore>(ranks_, options, kSecondPatience); });
  }

  void Set(const std::string& key, const std::string& value) override {
    Ask([&] { store_->set(Key(key), BytesOf(value)); });
  }

  bool Wait(const std::string& key, std::chrono::milliseconds patience) override {
    return Ask([&] {
      try {
        store_->wait({Key(key)}, patience);
        return true;
      } catch (const c10::DistStoreError&) {  // the time is over
        return false;
      }
    });
  }

  std::optional<std::string> Get(const std::string& key) override {
    return Ask([&]() -> std::optional<std::string> {
      if (!store_->check({Key(key)})) return std::nullopt;
      return TextOf(store_->get(Key(key)));
    });
  }

  int64_t Add(const std::string& key, int64_t number) override {
    return Ask([&] { return store_->add(Key(key), number); });
  }

  void Append(const std::string& key, const std::string& value) override {
    Ask([&] { store_->append(Key(key), BytesOf(value)); });
  }

  void Remove(const std::string& key) override {
    Ask([&] { store_->deleteKey(Key(key)); });
  }

 private:
  // torchrun's store has other keys, and outlives a run that it starts anew.
  std::string Key(const std::string& key) const {
    return "kvtune/" + std::to_string(ranks_.restarts) + "/" + key;
  }

  template <typename Function>
  auto Ask(const Function& function) -> decltype(function()) {
    try {
      return function();
    } catch (const c10::Error&) {
      throw Error("asking the store at " + PlaceOf(ranks_) + ": found no answer, expected the " +
                  (ranks_.agent_holds_store ? "agent of torchrun" : "process of rank 0") +
                  " to hold it until the run is over (the same command goes on from what is kept)");
    }
  }

  Ranks ranks_;
  c10d::TCPStoreOptions options_;
  c10::intrusive_ptr<c10d::TCPStore> store_;
};

// Tries again until the time is over, and then throws what c10d does.
std::unique_ptr<Store> ConnectWithin(std::chrono::milliseconds patience, const Ranks& ranks,
                                     c10d::TCPStoreOptions options) {
  const auto until = std::chrono::steady_clock::now() + patience;
  options.timeout = std::min<std::chrono::milliseconds>(patience, kOneTry);
  while (true) {
    try {
      return std::make_unique<TcpStore>(ranks, options, patience);
    } catch (const c10::Error&) {
      if (std::chrono::steady_clock::now() >= until) throw;
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

std::unique_ptr<Store> OpenTcpStore(const Ranks& ranks, std::chrono::milliseconds patience) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(ranks.port);
  options.isServer = ranks.rank == 0 && !ranks.agent_holds_store;
  options.waitWorkers = false;
  options.timeout = patience;
  SilenceTorch();
  try {
    if (options.isServer) return std::make_unique<TcpStore>(ranks, options, patience);
    return ConnectWithin(patience, ranks, options);
  } catch (const c10::Error& error) {
    const std::string reason = error.what_without_backtrace();
    if (options.isServer && reason.find("EADDRINUSE") != std::string::npos) {
      throw Error(
          "opening the store at " + PlaceOf(ranks) +
          ": found that another program has the port, expected a free one (set MASTER_PORT)");
    }
    if (options.isServer) {
      throw Error("opening the store at " + PlaceOf(ranks) + ": " +
                  reason.substr(0, reason.find('\n')));
    }
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience).count();
    throw Error("connecting to the store at " + PlaceOf(ranks) + ": found nothing within " +
                std::to_string(seconds) + " s, expected rank 0 of this run there");
  }
}

}  // namespace kvtune
