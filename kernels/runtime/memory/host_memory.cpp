// Reads /proc, the control groups and the process's limits.
#include "kernels/runtime/memory/host_memory.h"

#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <sstream>

namespace memengine {
namespace {

namespace fs = std::filesystem;

// The number in a file; none where it says "max", or where there is no such file.
std::optional<std::int64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  std::int64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

// Lines of a key, perhaps a colon, a number, and perhaps a unit.
std::map<std::string, std::int64_t> read_table(const fs::path& path) {
  std::ifstream file(path);
  std::map<std::string, std::int64_t> table;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key;
    std::int64_t number = 0;
    if (!(words >> key >> number)) continue;
    if (key.ends_with(':')) key.pop_back();
    table[key] = number;
  }
  return table;
}

class Tightest {
 public:
  void bound(std::int64_t bytes, const std::string& words) {
    bytes = std::max<std::int64_t>(bytes, 0);
    if (bytes < memory_.bytes) memory_ = {bytes, words};
  }
  const HostMemory& memory() const { return memory_; }

 private:
  HostMemory memory_{std::numeric_limits<std::int64_t>::max(), "are free"};
};

// The limits of one group. Cached files count as used there, but the kernel gives them up on
// demand: a run that has just read shards or written a checkpoint fills its group with them.
void bound_by_group(Tightest& tightest, const fs::path& folder, bool second_version) {
  const auto limit =
      read_number(folder / (second_version ? "memory.max" : "memory.limit_in_bytes"));
  const auto used =
      read_number(folder / (second_version ? "memory.current" : "memory.usage_in_bytes"));
  if (!limit || !used) return;
  const std::map<std::string, std::int64_t> statistics = read_table(folder / "memory.stat");
  std::int64_t cached = 0;
  for (const char* key : {"inactive_file", "active_file"}) {
    const auto found = statistics.find((second_version ? "" : "total_") + std::string(key));
    if (found != statistics.end()) cached += found->second;
  }
  tightest.bound(*limit - *used + cached,
                 "are left of the memory limit of the control group " + folder.string());
}

// The process's group and all above it. A container may show its own group as the root, so a folder
// that is not there is passed over.
void bound_by_groups(Tightest& tightest, const HostMemoryFiles& files) {
  std::ifstream groups(files.proc / "self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // number:controllers:/path, with number 0 and no controllers in the second version.
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool second_version = controllers == ",,";
    if (!second_version && controllers.find(",memory,") == std::string::npos) continue;
    const fs::path root = second_version ? files.control_groups : files.control_groups / "memory";
    fs::path path = fs::path(line.substr(second + 1)).relative_path();
    for (; !path.empty() && path.has_relative_path(); path = path.parent_path()) {
      bound_by_group(tightest, root / path, second_version);
    }
    bound_by_group(tightest, root, second_version);
  }
}

// Beside what a plan counts: stacks, the allocators' arenas, the matrix library's buffers (which
// waits for ever where it cannot have them).
std::int64_t reserve_bytes() {
  return (std::int64_t{192} << 20) + omp_get_max_threads() * (std::int64_t{96} << 20);
}

void bound_by_limits(Tightest& tightest, const HostMemoryFiles& files) {
  // Pages: total, resident, shared, text, library, data and stack.
  std::int64_t pages[6] = {};
  std::ifstream statm(files.proc / "self/statm");
  for (std::int64_t& number : pages) statm >> number;
  const std::int64_t page = sysconf(_SC_PAGESIZE);
  const auto bound = [&](auto resource, std::int64_t used, const char* command) {
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    const auto most = static_cast<std::int64_t>(
        std::min<rlim_t>(limit.rlim_cur, std::numeric_limits<std::int64_t>::max()));
    tightest.bound(most - used - reserve_bytes(), std::string("are left of `") + command + "`");
  };
  bound(RLIMIT_AS, pages[0] * page, "ulimit -v");
  bound(RLIMIT_DATA, pages[5] * page, "ulimit -d");
}

}  // namespace

HostMemory available_host_memory(const HostMemoryFiles& files) {
  Tightest tightest;
  std::map<std::string, std::int64_t> memory = read_table(files.proc / "meminfo");
  if (memory.contains("MemAvailable")) {
    tightest.bound(memory["MemAvailable"] * 1024, "are free");
  }
  if (read_number(files.proc / "sys/vm/overcommit_memory") == 2) {
    tightest.bound((memory["CommitLimit"] - memory["Committed_AS"]) * 1024,
                   "may still be promised (vm.overcommit_memory is 2)");
  }
  bound_by_groups(tightest, files);
  bound_by_limits(tightest, files);
  return tightest.memory();
}

HostMemory available_host_memory() {
  return available_host_memory(HostMemoryFiles{});
}

}  // namespace memengine
