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

  std::int64_t device_bytes() const;
  std::int64_t host_bytes() const;
};

// What is asked and what there is, where the plan exceeds what is free now: "the plan needs 3 GiB
// of GPU memory, 2 GiB are free", "... of host memory, 1 GiB are left of `ulimit -v`".
std::optional<std::string> plan_shortage(const MemoryPlan& plan, Device device);

// The plan as a table of text, several lines.
std::string plan_text(const MemoryPlan& plan, Device device);

}  // namespace memengine
