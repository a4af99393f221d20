#include "lib/kernels/parallel_loop.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

namespace kvtune {

void ParallelLoop(int threads, size_t count, const std::function<void(size_t)>& work) {
  threads = static_cast<int>(std::min(static_cast<size_t>(std::max(threads, 1)), count));
  if (threads <= 1 || omp_in_parallel() != 0) {
    for (size_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::atomic<bool> failed = false;
  std::exception_ptr first_error;
  std::mutex error_mutex;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (size_t i = 0; i < count; ++i) {
    // OpenMP cannot leave a loop early, so after an error the items left are passed over.
    if (failed) continue;
    // An exception that leaves an OpenMP region would end the program.
    try {
      work(i);
    } catch (...) {
      const std::lock_guard lock(error_mutex);
      if (!first_error) first_error = std::current_exception();
      failed = true;
    }
  }
  if (first_error) std::rethrow_exception(first_error);
}

OperatorsOnOneThread::OperatorsOnOneThread() : threads_(omp_get_max_threads()) {
  omp_set_num_threads(1);
}

OperatorsOnOneThread::~OperatorsOnOneThread() { omp_set_num_threads(threads_); }

}  // namespace kvtune
