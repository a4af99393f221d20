// Work on many items by the threads of a CPU. Torch-free.
#pragma once

#include <cstddef>
#include <functional>

namespace kvtune {

// Calls work(i) once for every i in [0, count), on up to `threads` threads, the first items first.
// With one thread, or inside another such loop, they follow each other on the calling thread.
// Operators inside a loop of several threads stay on their thread, whatever `threads` is. The first
// exception is thrown again after all threads have stopped.
void ParallelLoop(int threads, size_t count, const std::function<void(size_t)>& work);

// While it lives, operators of this thread do not use others: how a sum is cut into parts, and so
// how it rounds, does not depend on the number of threads.
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
