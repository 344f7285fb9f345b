// Regions, their members and the threads that compute them.
#include "kernels/runtime/threads/thread_team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <new>

namespace memengine {
namespace {

struct Place {
  int member = 0;
  int members = 0;  // 0: outside of regions
  unsigned loops = 0;
};
thread_local Place place;

constexpr std::size_t stack_bytes = std::size_t{2} << 20;

int usable_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return std::max(CPU_COUNT(&cores), 1);
  return 1;
}

// OMP_NUM_THREADS as OpenMP reads it: a number, or a list of which the first counts.
int wanted_threads(int cores) {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return cores;
  char* end = nullptr;
  const long number = std::strtol(text, &end, 10);
  while (*end == ' ') ++end;
  if (end == text || number < 1 || (*end != '\0' && *end != ',')) return cores;
  return static_cast<int>(std::min<long>(number, ThreadTeam::most_members));
}

constexpr std::uint64_t pack(std::uint32_t region, int members, int next) {
  return std::uint64_t{region} << 32 | static_cast<std::uint64_t>(members) << 16 |
         static_cast<std::uint64_t>(next);
}

}  // namespace

// Never destroyed: threads that sleep in it may outlive main().
ThreadTeam& ThreadTeam::instance() {
  static ThreadTeam& team = *new ThreadTeam;
  return team;
}

ThreadTeam::ThreadTeam() : cores_(usable_cores()), size_(wanted_threads(cores_)) {
  // A forked process has none of the threads.
  pthread_atfork(nullptr, nullptr, [] { instance().forget_threads(); });
}

void ThreadTeam::forget_threads() {
  new (&regions_) std::mutex;
  new (&starting_) std::mutex;
  new (&begun_) WaitedWord;
  new (&finished_) WaitedWord;
  new (&barriers_) WaitedWord;
  next_ = 0;
  arrived_ = 0;
  threads_ = 0;
  exhausted_ = false;
  place = {};
}

int ThreadTeam::size() {
  start_threads(size_ - 1);
  return std::min(size_.load(), threads_ + 1);
}

void ThreadTeam::set_size(int members) {
  size_ = std::clamp(members, 1, most_members);
}

// Signals are for the program's own threads.
void ThreadTeam::start_threads(int wanted) {
  if (threads_ >= wanted || exhausted_) return;
  const std::lock_guard lock(starting_);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (threads_ < wanted && !exhausted_) {
    pthread_t thread;
    const auto begin = [](void* team) -> void* {
      static_cast<ThreadTeam*>(team)->work();
      return nullptr;
    };
    if (pthread_create(&thread, &attributes, begin, this) == 0) {
      ++threads_;
    } else {
      exhausted_ = true;
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
}

void ThreadTeam::run(Body body, void* data, int members) {
  if (members <= 0) members = size_;
  members = std::min(members, most_members);
  if (!inside() && members > 1) {
    start_threads(members - 1);
    members = std::min(members, threads_ + 1);
  }
  if (inside() || members == 1) {
    compute(0, 1, body, data);
    return;
  }
  const std::lock_guard lock(regions_);
  const std::uint32_t region = begun_.load() + 1;
  patient_ = members <= cores_;
  done_.store(0, std::memory_order_relaxed);
  for (auto& claims : claims_) claims.store(0, std::memory_order_relaxed);
  body_.store(body, std::memory_order_relaxed);
  data_.store(data, std::memory_order_relaxed);
  next_.store(pack(region, members, 1), std::memory_order_release);
  begun_.set(region, members - 1);
  compute(0, members, body, data);
  // A member that passed a region's barriers met all others there, so those that nobody has begun
  // are of a region without any: we compute them ourselves sooner than wait for a thread.
  while (compute_one()) {
  }
  finished_.wait_while(region - 1, patient_);
}

// One member of the region under way that nobody has begun; false when there is none.
bool ThreadTeam::compute_one() {
  std::uint64_t next = next_.load(std::memory_order_acquire);
  while (true) {
    const int member = static_cast<int>(next & 0xffff);
    const int members = static_cast<int>(next >> 16 & 0xffff);
    if (member >= members) return false;
    // Of this region as long as the exchange succeeds: it cannot end before this member is done.
    const Body body = body_.load(std::memory_order_relaxed);
    void* const data = data_.load(std::memory_order_relaxed);
    if (!next_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      continue;
    }
    compute(member, members, body, data);
    if (static_cast<int>(done_.fetch_add(1, std::memory_order_acq_rel)) + 2 == members) {
      finished_.set(static_cast<std::uint32_t>(next >> 32), 1);
    }
    return true;
  }
}

void ThreadTeam::compute(int member, int members, Body body, void* data) {
  const Place outer = place;
  place = {member, members, 0};
  body(data);
  place = outer;
}

void ThreadTeam::work() {
  for (std::uint32_t seen = 0;;) {
    begun_.wait_while(seen, patient_);
    seen = begun_.load();
    while (compute_one()) {
    }
  }
}

int ThreadTeam::member() {
  return place.member;
}

int ThreadTeam::members() {
  return std::max(place.members, 1);
}

bool ThreadTeam::inside() {
  return place.members > 0;
}

void ThreadTeam::barrier() {
  const auto members = static_cast<std::uint32_t>(ThreadTeam::members());
  if (members == 1) return;
  const std::uint32_t passed = barriers_.load();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
    arrived_.store(0, std::memory_order_relaxed);
    barriers_.set(passed + 1, INT_MAX);
  } else {
    barriers_.wait_while(passed, patient_);
  }
}

unsigned ThreadTeam::begin_loop() {
  return place.loops++;
}

std::uint64_t ThreadTeam::claim(unsigned loop) {
  return claims_[loop].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace memengine
