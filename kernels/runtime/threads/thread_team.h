// The threads that compute `#pragma omp parallel`, on the CPU.
//
// The kernels say what is parallel in OpenMP, as everybody reads it; GCC makes calls of that
// (GOMP_parallel and a few more, openmp.cpp), which its own library would answer with threads that
// spin while they wait. Here they are answered by one team a process, which
//
//   waits as the machine allows               waiting.h
//   does not wait for threads that come late  a region's members are numbers, not threads: who has
//                                             finished one computes the next that nobody has begun
//   is as large as the system lets it be      OMP_NUM_THREADS, or the cores this process may use;
//                                             fewer when no more threads can be had
//   never keeps the process from exiting      its threads are left asleep
//
// What is computed depends only on the number of members, never on who computes them.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "kernels/runtime/threads/waiting.h"

namespace memengine {

class ThreadTeam {
 public:
  using Body = void (*)(void*);

  static ThreadTeam& instance();

  // Members of a region that asks for no number. Starts the threads for them when first asked.
  int size();
  // 1 to most_members; tests ask for more members than there are cores.
  void set_size(int members);

  // Calls body(data) once for each member, numbered 0 .. members - 1 (0: size()), and returns when
  // all are done. Within a region, and when there are no threads to be had, with one member. One
  // region at a time: another thread's waits.
  void run(Body body, void* data, int members);

  // For the member that calls:
  static int member();                 // its number; 0 outside of regions
  static int members();                // of its region; 1 outside
  static bool inside();                // of a region
  void barrier();                      // returns when all members have come here
  std::uint64_t claim(unsigned loop);  // of a region's loop: 0, 1, 2, ... to one member each
  static unsigned begin_loop();        // the number of the next loop of this member

  static constexpr int most_members = 1024;
  static constexpr unsigned most_loops = 16;  // of one region that are shared out by claim()

 private:
  ThreadTeam();
  void start_threads(int wanted);
  void work();
  bool compute_one();
  void compute(int member, int members, Body body, void* data);
  void forget_threads();

  int cores_;
  std::atomic<int> size_;
  std::atomic<int> threads_{0};  // started, beside the callers
  bool exhausted_ = false;       // no more can be had
  std::mutex starting_, regions_;

  // The region under way: its number, its members, and the next member that nobody has begun, in
  // one word, so that nobody begins a member of a region that is over.
  std::atomic<std::uint64_t> next_{0};
  std::atomic<Body> body_{nullptr};
  std::atomic<void*> data_{nullptr};
  std::atomic<std::uint32_t> done_{0};
  WaitedWord begun_, finished_;  // regions
  std::atomic<bool> patient_{true};

  std::atomic<std::uint32_t> arrived_{0};  // at a barrier
  WaitedWord barriers_;
  std::array<std::atomic<std::uint64_t>, most_loops> claims_{};
};

}  // namespace memengine
