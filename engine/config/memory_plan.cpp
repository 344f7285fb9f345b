// Adds up, checks and prints a memory plan.
#include "engine/config/memory_plan.h"

#include <numeric>

#include "kernels/runtime/memory/host_memory.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

std::int64_t total(const std::map<std::string, std::int64_t>& parts) {
  return std::accumulate(parts.begin(), parts.end(), std::int64_t{0},
                         [](std::int64_t sum, const auto& part) { return sum + part.second; });
}

}  // namespace

std::int64_t MemoryPlan::device_bytes() const {
  return total(device);
}
std::int64_t MemoryPlan::host_bytes() const {
  return total(host);
}

std::optional<std::string> plan_shortage(const MemoryPlan& plan, Device device) {
  const HostMemory free_host = available_host_memory();
  std::int64_t host = plan.host_bytes();
  if (device == Device::cpu) {
    host += plan.device_bytes();
  } else if (const std::int64_t free = free_memory_bytes(device); plan.device_bytes() > free) {
    return fmt::format("the plan needs {} of GPU memory, {} are free",
                       bytes_text(plan.device_bytes()), bytes_text(free));
  }
  if (host <= free_host.bytes) return std::nullopt;
  return fmt::format("the plan needs {} of host memory, {} {}", bytes_text(host),
                     bytes_text(free_host.bytes), free_host.words);
}

std::string plan_text(const MemoryPlan& plan, Device device) {
  std::string text;
  const auto section = [&](const std::string& title,
                           const std::map<std::string, std::int64_t>& parts) {
    if (parts.empty()) return;
    text += fmt::format("  {:<22} {:>12}\n", title, bytes_text(total(parts)));
    for (const auto& [purpose, bytes] : parts) {
      text += fmt::format("    {:<20} {:>12}\n", purpose, bytes_text(bytes));
    }
  };
  section(device == Device::cuda ? "GPU memory" : "host memory", plan.device);
  section(device == Device::cuda ? "page-locked host memory" : "host memory, tables", plan.host);
  text +=
      fmt::format("  {:<22} {:>12}\n", "disk, one checkpoint", bytes_text(plan.checkpoint_bytes));
  return text;
}

}  // namespace memengine
