// Will it fit? The memory a run needs, known before anything is allocated.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/bytes_text.h"

namespace memengine {

struct MemoryPlan {
  std::map<std::string, std::int64_t> device;  // bytes by purpose, on the device that computes
  std::map<std::string, std::int64_t> host;    // value tables in (page-locked) host memory
  std::int64_t checkpoint_bytes = 0;           // disk for one full checkpoint
  // Rows of host tables, and how many of them the "row cache" holds; 0 without a cache.
  std::int64_t table_rows = 0;
  std::int64_t cached_rows = 0;

  std::int64_t device_bytes() const;
  std::int64_t host_bytes() const;
};

// Adds what a process takes on the CPU beside the arenas, whose sizes no shape tells: the program
// with its libraries, the buffers of the matrix library, and a tokenizer's tables unless it is that
// of bytes. Measured; tests/cli/memory_test.cpp compares plans with the kernel's count.
void add_process_bytes(MemoryPlan& plan, bool tokenizer_has_tables);

// What a plan may take.
struct MemoryBudget {
  std::int64_t gpu_bytes = 0;
  std::int64_t host_bytes = 0;
  std::string words = "are free";  // after the host's number: "are left of `ulimit -v`"

  // What is free here and now for a plan on `device`.
  static MemoryBudget here(Device device);
};

// What is asked and what there is, where the plan exceeds it: "the plan needs 3 GiB of GPU memory,
// 2 GiB are free", "... of host memory, 1 GiB are left of `ulimit -v`".
std::optional<std::string> plan_shortage(const MemoryPlan& plan, Device device,
                                         const MemoryBudget& budget);
std::optional<std::string> plan_shortage(const MemoryPlan& plan, Device device);

// The plan as a table of text, several lines.
std::string plan_text(const MemoryPlan& plan, Device device);

// What bytes_text says, read: "80GiB", "79.6 GiB", "512 MB", "1073741824"; units of 1024 with an i
// or as a single letter (80G), of 1000 with a B alone. Input error for anything else, which names
// `what`.
std::int64_t parse_bytes(const std::string& text, const std::string& what);

}  // namespace memengine
