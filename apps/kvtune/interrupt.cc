#include "apps/kvtune/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "lib/base/error.h"

namespace kvtune {
namespace {

std::atomic<bool> delayed = false;
std::atomic<bool> requested = false;
std::atomic<pid_t> follower = 0;  // the child that follows signals; 0: none
static_assert(std::atomic<bool>::is_always_lock_free, "used in a signal handler");

// Only async-signal-safe calls.
void HandleSignal(int signal, siginfo_t* info, void*) {
  if (const pid_t child = follower; child != 0) {
    requested = true;
    if (info->si_code != SI_KERNEL) ::kill(child, signal);
    return;
  }
  if (delayed && !requested.exchange(true)) {
    constexpr char kMessage[] = "\nkvtune: stopping after this batch (again: stop at once)\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
    return;
  }
  ::_exit(static_cast<int>(ExitCode::kInterrupted));
}

}  // namespace

void InstallInterruptHandler() {
  struct sigaction action = {};
  action.sa_sigaction = HandleSignal;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  // A reader of stderr that ends must not end the run; a write of results to a closed pipe fails
  // and is an Error.
  ::signal(SIGPIPE, SIG_IGN);
}

InterruptForwarding::InterruptForwarding(pid_t child) { follower = child; }
InterruptForwarding::~InterruptForwarding() { follower = 0; }

void IgnoreInterrupts() {
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGTERM, SIG_IGN);
}

InterruptDelay::InterruptDelay() { delayed = true; }
InterruptDelay::~InterruptDelay() { delayed = false; }

bool InterruptRequested() { return requested; }

}  // namespace kvtune
