// Adds up, checks and prints a memory plan.
#include "engine/config/memory_plan.h"

#include <cctype>
#include <charconv>
#include <cmath>
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

void add_process_bytes(MemoryPlan& plan, bool tokenizer_has_tables) {
  constexpr std::int64_t mib = std::int64_t{1} << 20;
  // CUDA's libraries are loaded where the program has CUDA, also for a run on the CPU (13.0: as
  // much of them as the loader touches).
  plan.device["program, libraries"] += (cuda_build ? 150 : 12) * mib;
  plan.device["matrix library"] += 20 * mib;
  if (tokenizer_has_tables) plan.device["tokenizer"] += 20 * mib;
}

MemoryBudget MemoryBudget::here(Device device) {
  const HostMemory host = available_host_memory();
  return {device == Device::cuda ? free_memory_bytes(device) : 0, host.bytes, host.words};
}

std::optional<std::string> plan_shortage(const MemoryPlan& plan, Device device,
                                         const MemoryBudget& budget) {
  std::int64_t host = plan.host_bytes();
  if (device == Device::cpu) {
    host += plan.device_bytes();
  } else if (plan.device_bytes() > budget.gpu_bytes) {
    return fmt::format("the plan needs {} of GPU memory, {} are free",
                       bytes_text(plan.device_bytes()), bytes_text(budget.gpu_bytes));
  }
  if (host <= budget.host_bytes) return std::nullopt;
  return fmt::format("the plan needs {} of host memory, {} {}", bytes_text(host),
                     bytes_text(budget.host_bytes), budget.words);
}

std::optional<std::string> plan_shortage(const MemoryPlan& plan, Device device) {
  return plan_shortage(plan, device, MemoryBudget::here(device));
}

std::int64_t parse_bytes(const std::string& text, const std::string& what) {
  const auto refuse = [&] {
    fail_input("{}: '{}' is no size; write it like 80GiB, 512MiB or 64GB", what, text);
  };
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !(number >= 0)) refuse();
  std::string unit;
  for (const char c : text.substr(static_cast<std::size_t>(end - text.data()))) {
    if (c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  double bytes = number;
  if (!unit.empty() && unit != "b") {
    const std::size_t power = std::string("kmgt").find(unit.front());
    const std::string rest = unit.substr(1);
    if (power == std::string::npos || (!rest.empty() && rest != "b" && rest != "i" && rest != "ib"))
      refuse();
    bytes *= std::pow(rest == "b" ? 1000.0 : 1024.0, static_cast<double>(power + 1));
  }
  if (!(bytes < 9e18)) refuse();
  return static_cast<std::int64_t>(bytes);
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
  if (plan.cached_rows > 0) {
    text += fmt::format(
        "    the row cache holds {} of {} rows ({:.1f}%)\n", plan.cached_rows, plan.table_rows,
        100 * static_cast<double>(plan.cached_rows) / static_cast<double>(plan.table_rows));
  }
  section(device == Device::cuda ? "page-locked host memory" : "host memory, tables", plan.host);
  text +=
      fmt::format("  {:<22} {:>12}\n", "disk, one checkpoint", bytes_text(plan.checkpoint_bytes));
  return text;
}

}  // namespace memengine
