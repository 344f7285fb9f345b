// What OpenMP promises of its pragmas, on the thread team: every member and every iteration once,
// barriers that hold, loops within loops; with more members than cores, from several threads at
// once, in a forked process and where no more threads can be had.
#include "kernels/runtime/threads/thread_team.h"

#include <gtest/gtest.h>
#include <omp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <thread>
#include <vector>

namespace memengine {
namespace {

class Threads : public testing::TestWithParam<int> {
 protected:
  Threads() { omp_set_num_threads(GetParam()); }
  ~Threads() override { omp_set_num_threads(before_); }

  int before_ = omp_get_max_threads();
};

TEST_P(Threads, EveryMemberOnce) {
  EXPECT_EQ(omp_get_max_threads(), GetParam());
  for (int round = 0; round < 2000; ++round) {
    std::vector<int> calls(64);
    int members = 0;
#pragma omp parallel
    {
      ++calls[static_cast<std::size_t>(omp_get_thread_num())];
      if (omp_get_thread_num() == 0) members = omp_get_num_threads();
    }
    ASSERT_EQ(members, GetParam());
    for (int i = 0; i < 64; ++i) ASSERT_EQ(calls[static_cast<std::size_t>(i)], i < members ? 1 : 0);
  }
  EXPECT_EQ(omp_get_num_threads(), 1);
  EXPECT_EQ(omp_get_thread_num(), 0);
}

TEST_P(Threads, LoopsOfEveryKindVisitEachIndexOnce) {
  for (const std::int64_t count : {0, 1, 7, 100, 989}) {
    std::vector<int> visits(static_cast<std::size_t>(count) * 4);
    const auto visit = [&](std::int64_t kind, std::int64_t i) {
      ++visits[static_cast<std::size_t>(kind * count + i)];
    };
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count; ++i) visit(0, i);
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t i = 0; i < count; ++i) visit(1, i);
#pragma omp parallel for schedule(dynamic, 7)
    for (std::int64_t i = count - 1; i >= 0; --i) visit(2, i);
#pragma omp parallel for schedule(dynamic, 3)
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      visit(3, static_cast<std::int64_t>(i));
    }
    for (const int times : visits) ASSERT_EQ(times, 1) << count;
  }
  // In steps, and across zero.
  std::vector<int> hits(200);
#pragma omp parallel for schedule(dynamic, 2)
  for (std::int64_t i = -100; i < 99; i += 3) ++hits[static_cast<std::size_t>(i + 100)];
  for (std::size_t i = 0; i < hits.size(); ++i) ASSERT_EQ(hits[i], i < 199 && i % 3 == 0 ? 1 : 0);
  int visited = 0;
#pragma omp parallel for collapse(2) schedule(dynamic, 4) reduction(+ : visited)
  for (int i = 0; i < 11; ++i) {
    for (int k = 0; k < 13; ++k) ++visited;
  }
  EXPECT_EQ(visited, 11 * 13);
}

TEST_P(Threads, SeveralLoopsInOneRegion) {
  std::vector<int> hits(40 * 30);
#pragma omp parallel
  for (int loop = 0; loop < 30; ++loop) {  // more than the team can count at once
#pragma omp for schedule(dynamic) nowait
    for (int i = 0; i < 40; ++i) ++hits[static_cast<std::size_t>(loop * 40 + i)];
  }
  for (const int times : hits) ASSERT_EQ(times, 1);
}

TEST_P(Threads, ABarrierHoldsAllMembers) {
  for (int round = 0; round < 300; ++round) {
    std::vector<int> written(64), seen(64);
#pragma omp parallel
    for (int step = 1; step <= 3; ++step) {
      const auto me = static_cast<std::size_t>(omp_get_thread_num());
      written[me] = step;
#pragma omp barrier
      for (std::size_t other = 0; other < static_cast<std::size_t>(omp_get_num_threads());
           ++other) {
        if (written[other] == step) ++seen[me];
      }
#pragma omp barrier
    }
    for (int i = 0; i < GetParam(); ++i) {
      ASSERT_EQ(seen[static_cast<std::size_t>(i)], 3 * GetParam());
    }
  }
}

TEST_P(Threads, SumsAndCriticalSectionsLoseNothing) {
  std::int64_t sum = 0, counted = 0;
#pragma omp parallel for reduction(+ : sum)
  for (std::int64_t i = 0; i < 10000; ++i) {
    sum += i;
    if (i % 10 == 0) {
#pragma omp critical(count)
      ++counted;
    }
  }
  EXPECT_EQ(sum, 49995000);
  EXPECT_EQ(counted, 1000);
}

TEST_P(Threads, ARegionWithinARegionHasOneMember) {
  std::vector<int> inner(64);
#pragma omp parallel
  {
    const auto me = static_cast<std::size_t>(omp_get_thread_num());
    const int mine = omp_get_thread_num();
    const int members = omp_get_num_threads();
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < 5; ++i) {
      inner[me] += omp_get_num_threads() == 1 && omp_get_thread_num() == 0 ? 1 : 100;
    }
    if (omp_get_thread_num() != mine || omp_get_num_threads() != members) inner[me] = -1;
  }
  for (int i = 0; i < GetParam(); ++i) EXPECT_EQ(inner[static_cast<std::size_t>(i)], 5);

  // A loop within an iteration of a loop.
  std::vector<int> hits(40 * 30);
#pragma omp parallel for schedule(dynamic, 3)
  for (int i = 0; i < 40; ++i) {
#pragma omp parallel for schedule(dynamic, 4)
    for (int k = 0; k < 30; ++k) ++hits[static_cast<std::size_t>(i * 30 + k)];
  }
  for (const int times : hits) ASSERT_EQ(times, 1);
}

TEST_P(Threads, SeveralThreadsTakeTurns) {
  std::vector<std::int64_t> sums(4);
  std::vector<std::thread> callers;
  for (std::int64_t& sum : sums) {
    callers.emplace_back([&sum] {
      for (int round = 0; round < 300; ++round) {
        std::int64_t part = 0;
#pragma omp parallel for schedule(dynamic, 5) reduction(+ : part)
        for (std::int64_t i = 0; i < 100; ++i) part += i;
        sum += part;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::int64_t sum : sums) EXPECT_EQ(sum, 300 * 4950);
}

// Members that take long, so that who waits goes to sleep and has to be woken.
TEST_P(Threads, WhoWaitsLongIsWoken) {
  for (int round = 0; round < 5; ++round) {
    int done = 0;
#pragma omp parallel reduction(+ : done)
    {
      if (omp_get_thread_num() == round % omp_get_num_threads()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(15));
      }
      done += 1;
#pragma omp barrier
      if (omp_get_thread_num() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(15));
    }
    EXPECT_EQ(done, GetParam());
    std::this_thread::sleep_for(std::chrono::milliseconds(15));
  }
}

INSTANTIATE_TEST_SUITE_P(Members, Threads, testing::Values(1, 2, 3, 5, 16));

std::int64_t count_members() {
  std::int64_t sum = 0;
#pragma omp parallel reduction(+ : sum)
  sum += 1;
  return sum;
}

// A child of fork has none of its parent's threads, and starts its own.
TEST(ThreadTeam, WorksInAForkedProcess) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer does not follow threads of forked processes";
#endif
  omp_set_num_threads(3);
  EXPECT_EQ(count_members(), 3);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(count_members() == 3 && count_members() == 3 ? 7 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
  EXPECT_EQ(count_members(), 3);
}

// Where the system gives no more threads the team is smaller, and says so before it is asked to
// work.
TEST(ThreadTeam, IsAsLargeAsTheSystemLetsItBe) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer does not follow threads of forked processes";
#endif
  omp_set_num_threads(1);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    std::ifstream statm("/proc/self/statm");
    std::uint64_t pages = 0;
    statm >> pages;
    // Room for two more stacks of 2 MiB beside those that ended threads left, not for 63.
    const rlim_t bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + (5U << 20);
    const rlimit limit = {bytes, bytes};
    setrlimit(RLIMIT_AS, &limit);
    omp_set_num_threads(64);
    const int members = omp_get_max_threads();
    _exit(members >= 2 && members < 64 && count_members() == members ? 7 : members);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

// Other work on the same core is noticed; waiting threads then sleep early. (That a machine is free
// cannot be arranged here, so only this side is looked at.)
TEST(ThreadTeam, NoticesThatTheCoresAreContended) {
#ifdef __clang__
  GTEST_SKIP() << "clang's pragmas are its own library's";
#endif
  cpu_set_t before, one;
  sched_getaffinity(0, sizeof before, &before);
  CPU_ZERO(&one);
  for (int core = 0; CPU_COUNT(&one) == 0; ++core) {
    if (CPU_ISSET(core, &before)) CPU_SET(core, &one);
  }
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "two members on one core sleep early anyway";
  omp_set_num_threads(2);
#pragma omp parallel
  {
    sched_setaffinity(0, sizeof one, &one);
#pragma omp barrier
  }
  std::atomic<bool> stop{false};
  std::thread busy([&] {  // on this core too
    while (!stop) {
    }
  });
  bool noticed = false;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!noticed && std::chrono::steady_clock::now() < give_up) {
    count_members();
    noticed = cores_are_contended();
  }
  stop = true;
  busy.join();
#pragma omp parallel
  {
    sched_setaffinity(0, sizeof before, &before);
#pragma omp barrier
  }
  omp_set_num_threads(1);
  EXPECT_TRUE(noticed);
}

}  // namespace
}  // namespace memengine
