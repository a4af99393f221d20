// The times by which the processes of a run judge each other. docs/scale.md states them.
#pragma once

#include <chrono>

namespace kvtune {

struct LeaseTimes {
  using Milliseconds = std::chrono::milliseconds;
  // Every process says this often that it is alive.
  Milliseconds beat = std::chrono::seconds(2);
  // The lease of a process that was silent for so long is given to another.
  Milliseconds expiry = std::chrono::seconds(15);
  // The other processes end with an error when rank 0 was silent for so long.
  Milliseconds silence = std::chrono::seconds(30);
  // How long a process waits for the store at a time before it looks around.
  Milliseconds slice = std::chrono::seconds(5);
  // How often rank 0 looks for results while it has no lease of its own.
  Milliseconds poll = Milliseconds(200);
  // How long the others wait for the store, and a last try of some seconds more. Processes of one
  // run start within this time of each other.
  Milliseconds opening = std::chrono::seconds(50);
  // How long they wait for the greeting of rank 0 once there is a store.
  Milliseconds greeting = std::chrono::seconds(60);
  // How long rank 0 waits at its end for a process that never came.
  Milliseconds farewell = std::chrono::seconds(10);
};

}  // namespace kvtune
