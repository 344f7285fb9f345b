// How a thread waits for another that will be ready in microseconds.
//
// Where the cores are free, waking a thread that sleeps costs more than most parallel regions take
// (a virtual machine needs some 50 us), so who waits should spin. Where other programs want the
// cores, a spinning thread takes the very time that the awaited one needs: a model then trains at a
// fiftieth of its speed. No fixed time to spin is right in both places, so here it is found out: a
// thread spins for some microseconds, then gives its core away at every look (sched_yield, which
// costs nothing where nobody else wants it), and goes to sleep after a few milliseconds. When it
// finds that it was off its core for long, the cores are contended, and for the next moment, the
// longer the more often that happens, all threads of the process go to sleep after the first few
// microseconds.
#pragma once

#include <atomic>
#include <cstdint>

namespace memengine {

// A word that threads wait for.
class WaitedWord {
 public:
  std::uint32_t load() const { return word_.load(std::memory_order_acquire); }

  // Returns once the word is not `old`. `patient` false: sleeps soon, for teams larger than the
  // number of cores.
  void wait_while(std::uint32_t old, bool patient);

  // Sets the word and wakes up to `most` of those who sleep.
  void set(std::uint32_t value, int most);

 private:
  alignas(64) std::atomic<std::uint32_t> word_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

// Whether waiting threads go to sleep early now.
bool cores_are_contended();

}  // namespace memengine
