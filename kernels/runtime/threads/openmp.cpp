// OpenMP, as far as the kernels use it, on the thread team: the calls that GCC makes of `#pragma
// omp parallel`, `for`, `barrier` and `critical`, and the omp_ functions. A pragma that needs
// another call does not link: add the call here. (clang has calls of its own and keeps its
// library.)
//
// The shares of a static loop are arithmetic on omp_get_thread_num(), which GCC writes into the
// code itself. The chunks of a dynamic one are claimed one after the other.
#if defined(__GNUC__) && !defined(__clang__)

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <mutex>

#include "kernels/runtime/threads/thread_team.h"

namespace memengine {
namespace {

std::mutex critical;

// The loop that this thread shares out with the others of its region.
struct Loop {
  unsigned number = 0;
  bool alone = false;  // one member takes all: within a region of one, or past what can be counted
  std::uint64_t begin = 0, iterations = 0, step = 1, chunk = 1, taken = 0;
};
thread_local Loop loop;

// Begins a loop over `iterations` numbers begin, begin + step, ... (modulo 2^64, so of either
// sign).
void begin_loop(std::uint64_t begin, std::uint64_t iterations, std::uint64_t step,
                std::uint64_t chunk) {
  loop = {ThreadTeam::begin_loop(),          false, begin, iterations, step,
          std::max<std::uint64_t>(chunk, 1), 0};
  loop.alone = ThreadTeam::members() == 1 || loop.number >= ThreadTeam::most_loops;
  if (loop.alone && ThreadTeam::member() != 0) loop.iterations = 0;
}

template <typename Number>
bool next_chunk(Number* first, Number* end) {
  const std::uint64_t claimed =
      loop.alone ? loop.taken++ : ThreadTeam::instance().claim(loop.number);
  if (claimed >= (loop.iterations + loop.chunk - 1) / loop.chunk) return false;
  const std::uint64_t from = claimed * loop.chunk;
  const std::uint64_t to = std::min(from + loop.chunk, loop.iterations);
  *first = static_cast<Number>(loop.begin + from * loop.step);
  *end = static_cast<Number>(loop.begin + to * loop.step);
  return true;
}

// Of a loop from `begin` to before `end`, upwards or downwards.
std::uint64_t count_up(std::uint64_t distance, std::uint64_t step) {
  return (distance + step - 1) / step;
}
std::uint64_t iterations(long begin, long end, long step) {
  if (step > 0 ? begin >= end : begin <= end) return 0;
  const auto distance = static_cast<std::uint64_t>(end) - static_cast<std::uint64_t>(begin);
  return step > 0 ? count_up(distance, static_cast<std::uint64_t>(step))
                  : count_up(0 - distance, 0 - static_cast<std::uint64_t>(step));
}

void begin_loop(long begin, long end, long step, long chunk) {
  begin_loop(static_cast<std::uint64_t>(begin), iterations(begin, end, step),
             static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(chunk));
}

}  // namespace
}  // namespace memengine

using memengine::ThreadTeam;

extern "C" {

void GOMP_parallel(void (*body)(void*), void* data, unsigned members, unsigned /*flags*/) {
  const auto outer = memengine::loop;  // of which this region may be an iteration
  ThreadTeam::instance().run(body, data, static_cast<int>(members));
  memengine::loop = outer;
}

// A region that is one loop: every member begins it before its body asks for the first chunk.
void GOMP_parallel_loop_nonmonotonic_dynamic(void (*body)(void*), void* data, unsigned members,
                                             long begin, long end, long step, long chunk,
                                             unsigned flags) {
  struct Region {
    void (*body)(void*);
    void* data;
    long begin, end, step, chunk;
  } region = {body, data, begin, end, step, chunk};
  const auto member = [](void* of) {
    const auto& [body, data, begin, end, step, chunk] = *static_cast<Region*>(of);
    memengine::begin_loop(begin, end, step, chunk);
    body(data);
  };
  GOMP_parallel(member, &region, members, flags);
}

void GOMP_barrier() {
  ThreadTeam::instance().barrier();
}

bool GOMP_loop_nonmonotonic_dynamic_start(long begin, long end, long step, long chunk, long* first,
                                          long* last) {
  memengine::begin_loop(begin, end, step, chunk);
  return memengine::next_chunk(first, last);
}

bool GOMP_loop_nonmonotonic_dynamic_next(long* first, long* last) {
  return memengine::next_chunk(first, last);
}

bool GOMP_loop_ull_nonmonotonic_dynamic_start(bool up, unsigned long long begin,
                                              unsigned long long end, unsigned long long step,
                                              unsigned long long chunk, unsigned long long* first,
                                              unsigned long long* last) {
  const bool none = up ? begin >= end : begin <= end;
  const std::uint64_t count =
      none ? 0 : memengine::count_up(up ? end - begin : begin - end, up ? step : 0 - step);
  memengine::begin_loop(begin, count, step, chunk);
  return memengine::next_chunk(first, last);
}

bool GOMP_loop_ull_nonmonotonic_dynamic_next(unsigned long long* first, unsigned long long* last) {
  return memengine::next_chunk(first, last);
}

void GOMP_loop_end_nowait() {}

void GOMP_loop_end() {
  ThreadTeam::instance().barrier();
}

void GOMP_critical_start() {
  memengine::critical.lock();
}

void GOMP_critical_end() {
  memengine::critical.unlock();
}

// One lock for all names.
void GOMP_critical_name_start(void** /*name*/) {
  memengine::critical.lock();
}

void GOMP_critical_name_end(void** /*name*/) {
  memengine::critical.unlock();
}

int omp_get_max_threads() noexcept {
  return ThreadTeam::inside() ? 1 : ThreadTeam::instance().size();
}

int omp_get_num_threads() noexcept {
  return ThreadTeam::members();
}

int omp_get_thread_num() noexcept {
  return ThreadTeam::member();
}

void omp_set_num_threads(int members) noexcept {
  ThreadTeam::instance().set_size(members);
}

int omp_in_parallel() noexcept {
  return ThreadTeam::inside() && ThreadTeam::members() > 1 ? 1 : 0;
}

}  // extern "C"

#endif
