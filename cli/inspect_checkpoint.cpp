// A checkpoint's step, files and tensors, and whether every block of it is as it was written.
#include <fmt/core.h>

#include <algorithm>
#include <string>

#include "cli/inspect.h"
#include "cli/terminal.h"
#include "engine/config/memory_plan.h"
#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/safetensors.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

std::string size_text(std::uint64_t bytes) {
  return bytes_text(static_cast<std::int64_t>(bytes));
}

void print_tensors(const std::vector<TensorInfo>& tensors) {
  std::size_t width = 0;
  for (const TensorInfo& tensor : tensors) width = std::max(width, tensor.name.size());
  for (const TensorInfo& tensor : tensors) {
    std::string shape;
    for (const std::int64_t size : tensor.shape) {
      shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    }
    fmt::print("    {:<{}}  {:<4}  [{}]  {}\n", tensor.name, width, file_dtype_name(tensor.dtype),
               shape, size_text(tensor.bytes));
  }
}

void print_state(const CheckpointState& state) {
  for (const auto& [section, values] : state) {
    for (const auto& [key, value] : values) {
      if (section == "run" && key == "config") continue;
      const std::string text =
          std::visit([](const auto& x) { return fmt::format("{}", x); }, value);
      fmt::print("  {:<28} {}\n", section + "." + key, text);
    }
  }
}

// One line of a chain: what a checkpoint is, and what it stands on.
void print_link(const fs::path& root, std::int64_t step) {
  try {
    const CheckpointSummary summary = Checkpoint(root / checkpoint_name(step)).summary();
    fmt::print("  step {:>12}  {:>10}  {}\n", grouped(step), size_text(summary.bytes),
               summary.base_step < 0
                   ? "full"
                   : fmt::format("on top of step {}", grouped(summary.base_step)));
  } catch (const Error& error) {
    fmt::print("  step {:>12}  damaged: {}\n", grouped(step), error.what());
  }
}

void print_checkpoint(const fs::path& folder, bool verify) {
  const Checkpoint checkpoint(folder);
  const CheckpointSummary summary = checkpoint.summary();
  fmt::print("{}: checkpoint of step {}, {}\n", folder.string(), grouped(summary.step),
             size_text(summary.bytes));
  if (summary.base_step >= 0) {
    fmt::print("  an increment: rows updated since step {}, on top of that full checkpoint ({})\n",
               grouped(summary.base_step), size_text(summary.base_bytes));
  }
  print_state(checkpoint.state());
  for (const CheckpointSummary::File& file : summary.files) {
    fmt::print("  {}  {}, {}\n", file.name,
               counted(static_cast<std::int64_t>(file.tensors.size()), "tensor"),
               size_text(file.bytes));
    print_tensors(file.tensors);
  }
  if (!verify) return;
  std::fflush(stdout);
  checkpoint.verify();
  fmt::print("  every block agrees with its checksum\n");
}

}  // namespace

void inspect_checkpoint(const InspectArguments& arguments) {
  const fs::path& path = arguments.path;
  std::error_code error;
  if (fs::exists(path / "state.json", error)) return print_checkpoint(path, !arguments.no_verify);
  const std::vector<std::int64_t> steps =
      fs::is_directory(path, error) ? checkpoint_steps(path) : std::vector<std::int64_t>();
  if (!steps.empty()) {
    fmt::print("{}: {}\n", path.string(),
               counted(static_cast<std::int64_t>(steps.size()), "checkpoint"));
    for (const std::int64_t step : steps) print_link(path, step);
    return print_checkpoint(path / checkpoint_name(steps.back()), !arguments.no_verify);
  }
  const SafetensorsReader reader(path);
  std::uint64_t bytes = 0;
  for (const TensorInfo& tensor : reader.tensors()) bytes += tensor.bytes;
  fmt::print("{}: {}, {}\n", path.string(),
             counted(static_cast<std::int64_t>(reader.tensors().size()), "tensor"),
             size_text(bytes));
  for (const auto& [key, value] : reader.metadata()) fmt::print("  {:<28} {}\n", key, value);
  print_tensors(reader.tensors());
}

}  // namespace memengine
