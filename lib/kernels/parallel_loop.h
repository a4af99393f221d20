// Work on many items, shared by the threads of a CPU. This file is torch-free.
#pragma once

#include <cstddef>
#include <functional>

namespace kvtune {

// Calls work(i) once for every i in [0, count), on up to `threads` threads, the first items first.
// With one thread, or inside another such loop, the calls follow each other on the calling thread.
// Operators inside a loop of several threads stay on their thread, whatever `threads` is. The first
// exception is thrown again after all threads have stopped.
void ParallelLoop(int threads, size_t count, const std::function<void(size_t)>& work);

// While it lives, operators that this thread calls use no other thread. So the parts into which a
// sum is cut, and with them its rounding, do not depend on the number of threads.
class OperatorsOnOneThread {
 public:
  OperatorsOnOneThread();
  ~OperatorsOnOneThread();
  OperatorsOnOneThread(const OperatorsOnOneThread&) = delete;
  OperatorsOnOneThread& operator=(const OperatorsOnOneThread&) = delete;

 private:
  int threads_;
};

}  // namespace kvtune
