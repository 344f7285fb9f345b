// Which bound on host memory is the tightest, and that it is named.
#include "kernels/runtime/memory/host_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>

#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

constexpr std::int64_t gib = std::int64_t{1} << 30;

class HostMemoryBounds : public testing::Test {
 protected:
  HostMemoryBounds() {
    write("proc/meminfo",
          "MemTotal: 90000000 kB\nMemAvailable:   10485760 kB\nHugePages_Free: 0\n");
    write("proc/self/statm", "1000 500 100 10 0 800 0\n");
  }
  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  HostMemory found() { return available_host_memory({folder_ / "proc", folder_ / "groups"}); }

  TemporaryFolder folder_;
};

TEST_F(HostMemoryBounds, TheMachine) {
  EXPECT_EQ(found().bytes, 10 * gib);
  EXPECT_EQ(found().words, "are free");
}

TEST_F(HostMemoryBounds, ControlGroupsOfBothVersionsAndAboveOnes) {
  // A batch job's group without a limit of its own, in one that has one; files are given up.
  write("proc/self/cgroup", "0::/batch/job_7\n");
  write("groups/batch/job_7/memory.max", "max\n");
  write("groups/batch/job_7/memory.current", "5\n");
  write("groups/batch/memory.max", std::to_string(4 * gib) + "\n");
  write("groups/batch/memory.current", std::to_string(3 * gib) + "\n");
  write("groups/batch/memory.stat", "anon 1\ninactive_file " + std::to_string(gib) +
                                        "\nactive_file " + std::to_string(gib) + "\nfile 7\n");
  EXPECT_EQ(found().bytes, 3 * gib);
  EXPECT_NE(found().words.find("batch"), std::string::npos) << found().words;
  EXPECT_EQ(found().words.find("job_7"), std::string::npos) << found().words;

  write("proc/self/cgroup", "5:cpu:/a\n4:memory,hugetlb:/not/shown/here\n");
  write("groups/memory/memory.limit_in_bytes", std::to_string(2 * gib) + "\n");
  write("groups/memory/memory.usage_in_bytes", std::to_string(gib) + "\n");
  write("groups/memory/memory.stat", "inactive_file 3\ntotal_inactive_file 4096\n");
  EXPECT_EQ(found().bytes, gib + 4096);
  EXPECT_NE(found().words.find("control group"), std::string::npos) << found().words;

  write("groups/memory/memory.usage_in_bytes", std::to_string(3 * gib) + "\n");
  EXPECT_EQ(found().bytes, 0);
}

TEST_F(HostMemoryBounds, WithoutOvercommit) {
  write("proc/meminfo",
        "MemAvailable: 10485760 kB\nCommitLimit: 4194304 kB\nCommitted_AS: 1048576 kB\n");
  write("proc/sys/vm/overcommit_memory", "1\n");
  EXPECT_EQ(found().bytes, 10 * gib);
  write("proc/sys/vm/overcommit_memory", "2\n");
  EXPECT_EQ(found().bytes, 3 * gib);
  EXPECT_NE(found().words.find("overcommit_memory"), std::string::npos);
}

TEST_F(HostMemoryBounds, TheShellsLimits) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory is above any limit";
#endif
  struct Case {
    decltype(RLIMIT_AS) resource;
    const char* command;
  };
  for (const Case& limited : {Case{RLIMIT_AS, "ulimit -v"}, Case{RLIMIT_DATA, "ulimit -d"}}) {
    rlimit before{};
    ASSERT_EQ(getrlimit(limited.resource, &before), 0);
    rlimit now = before;
    now.rlim_cur = 9 * gib;
    if (before.rlim_cur < now.rlim_cur) GTEST_SKIP() << "limited already";
    ASSERT_EQ(setrlimit(limited.resource, &now), 0);
    const HostMemory memory = found();
    setrlimit(limited.resource, &before);
    EXPECT_LT(memory.bytes, 9 * gib);
    EXPECT_GT(memory.bytes, 0);
    EXPECT_EQ(memory.words, std::string("are left of `") + limited.command + "`");
  }
}

// The system this runs on: no more than it has, and something.
TEST(HostMemory, IsThere) {
  const HostMemory memory = available_host_memory();
  EXPECT_GT(memory.bytes, 1 << 20);
  EXPECT_LT(memory.bytes, std::int64_t{1} << 50);
}

}  // namespace
}  // namespace memengine
