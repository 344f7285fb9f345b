// How much host memory this process can still have, and what says so.
//
// Several bounds hold at once; the tightest counts: what the machine has available, the limits of
// its control groups (containers, batch jobs), the shell's `ulimit -v` and `ulimit -d`, and what
// may still be promised where the system does not overcommit.
//
// `ulimit -l` is none of them: it bounds mlock(), but memory that the GPU maps is page-locked by
// the NVIDIA driver, which pins the pages itself (os_lock_user_pages() in kernel-open/nvidia/
// os-mlock.c of its open kernel modules) and counts them against no limit of the process. What
// bounds page-locking is memory that is there.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace memengine {

struct HostMemory {
  std::int64_t bytes = 0;  // not negative
  std::string words;       // after the number: "are free", "are left of `ulimit -v`"
};

HostMemory available_host_memory();

// Where the system says it; for tests.
struct HostMemoryFiles {
  std::filesystem::path proc = "/proc";
  std::filesystem::path control_groups = "/sys/fs/cgroup";
};
HostMemory available_host_memory(const HostMemoryFiles& files);

}  // namespace memengine
