// The store of a run on many hosts: c10d's TCPStore, which torchrun, too, uses.
#pragma once

#include <chrono>
#include <memory>

#include "lib/distributed/ranks.h"
#include "lib/distributed/store.h"

namespace kvtune {

// Rank 0 opens the store at its address and port, unless torchrun's agent holds one there; the
// other ranks connect to it, and wait for it for `patience` and some seconds more. Throws Error
// when the port is taken and when nothing answers. REQUIRES: ranks.world > 1.
std::unique_ptr<Store> OpenTcpStore(const Ranks& ranks, std::chrono::milliseconds patience);

}  // namespace kvtune
