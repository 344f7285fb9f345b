// A loop over numbered pieces of work on several threads, for reading, hashing and writing files.
//
// Plain threads, not OpenMP: the work waits for disks, and errors travel as exceptions.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace memengine {

// Threads worth giving to one file: enough to keep a fast disk busy while others hash and copy.
inline std::size_t file_threads() {
  return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, 8);
}

// Calls body(i) once for every i < count, lower ones first, on at most `threads` threads, of which
// the caller is one, and fewer where the system has no more. Each thread makes its own body by
// make_body(), which may hold its buffers. After an exception no new i is begun; the first one is
// thrown again here.
template <typename MakeBody>
void parallel_for(std::size_t count, std::size_t threads, const MakeBody& make_body) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      auto body = make_body();
      for (std::size_t i; (i = next.fetch_add(1)) < count;) body(i);
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  std::vector<std::thread> pool;
  try {
    for (std::size_t i = 1; i < std::min(threads, count); ++i) pool.emplace_back(work);
  } catch (const std::system_error&) {  // as many as there are then
  }
  work();
  for (std::thread& thread : pool) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace memengine
