// Spins, yields, sleeps (futex).
#include "kernels/runtime/threads/waiting.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <ctime>

namespace memengine {
namespace {

constexpr std::int64_t microsecond = 1000;
constexpr std::int64_t millisecond = 1000 * microsecond;

constexpr int first_spins = 300;                          // some 5 us
constexpr int patient_spins = 1500;                       // some 25 us more
constexpr std::int64_t patience = 4 * millisecond;        // then even a patient thread sleeps
constexpr std::int64_t lost_core = 400 * microsecond;     // between two looks: another program ran
constexpr std::int64_t shortest_spell = 8 * millisecond;  // that sleeping early lasts
constexpr std::int64_t longest_spell = 256 * millisecond;

std::atomic<std::int64_t> contended_until{0};
std::atomic<std::int64_t> spell{shortest_spell};

std::int64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000 * millisecond + time.tv_nsec;
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A core that is lost again soon after the last spell makes the next one longer; two threads that
// say so at once may both count, which does no harm.
void core_was_lost(std::int64_t at) {
  const std::int64_t last = spell.load(std::memory_order_relaxed);
  const bool again = at - contended_until.load(std::memory_order_relaxed) < 4 * last;
  const std::int64_t next = again ? std::min(2 * last, longest_spell) : shortest_spell;
  spell.store(next, std::memory_order_relaxed);
  contended_until.store(at + next, std::memory_order_relaxed);
}

}  // namespace

bool cores_are_contended() {
  const std::int64_t until = contended_until.load(std::memory_order_relaxed);
  return until != 0 && now() < until;
}

void WaitedWord::wait_while(std::uint32_t old, bool patient) {
  for (int i = 0; i < first_spins; ++i) {
    if (load() != old) return;
    pause();
  }
  if (patient && !cores_are_contended()) {
    const std::int64_t begin = now();
    for (int i = 0; i < patient_spins; ++i) {
      if (load() != old) return;
      pause();
    }
    for (std::int64_t last = begin; last - begin < patience;) {
      for (int i = 0; i < 16; ++i) {
        if (load() != old) return;
        pause();
      }
      sched_yield();
      const std::int64_t at = now();
      if (at - last > lost_core) {
        core_was_lost(at);
        break;
      }
      last = at;
    }
  }
  sleepers_.fetch_add(1);
  while (word_.load() == old) {
    syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
  }
  sleepers_.fetch_sub(1);
}

// Sequentially consistent, as the sleepers' half is: either they see the new word, or we see them.
void WaitedWord::set(std::uint32_t value, int most) {
  word_.store(value);
  if (sleepers_.load() > 0) {
    syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, most, nullptr, nullptr, 0);
  }
}

}  // namespace memengine
