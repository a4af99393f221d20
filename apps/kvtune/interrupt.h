// What Ctrl-C does: it ends the program at once, except where work can be kept.
#pragma once

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

// From now on SIGINT and SIGTERM do nothing.
void IgnoreInterrupts();

// Whether a signal came while an InterruptDelay existed.
bool InterruptRequested();

}  // namespace kvtune
