// What Ctrl-C does: it ends the program at once, except where work can be kept.
#pragma once

#include <sys/types.h>

namespace kvtune {

// After this call, SIGINT and SIGTERM end the program with exit code 130.
void InstallInterruptHandler();

// While an object of this class exists, the first signal is only remembered, so that the running
// batch is finished and its scores are kept. The second signal ends the program.
class InterruptDelay {
 public:
  InterruptDelay();
  ~InterruptDelay();
  InterruptDelay(const InterruptDelay&) = delete;
  InterruptDelay& operator=(const InterruptDelay&) = delete;
};

// While an object of this class exists, signals are for a child process to follow. It gets those of
// the terminal as this process does; one that was sent to this process alone is sent on to it.
class InterruptForwarding {
 public:
  explicit InterruptForwarding(pid_t child);
  ~InterruptForwarding();
  InterruptForwarding(const InterruptForwarding&) = delete;
  InterruptForwarding& operator=(const InterruptForwarding&) = delete;
};

// From now on SIGINT and SIGTERM do nothing.
void IgnoreInterrupts();

// Whether a signal came while an InterruptDelay or an InterruptForwarding existed.
bool InterruptRequested();

}  // namespace kvtune
