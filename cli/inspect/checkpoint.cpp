// A checkpoint's step, files and tensors, and whether every block of it is as it was written.
#include <fmt/core.h>

#include <algorithm>
#include <string>

#include "cli/inspect/inspect.h"
#include "cli/inspect/tensor_groups.h"
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

void print_tensors(const std::vector<TensorInfo>& tensors, bool all) {
  std::vector<TensorGroup> groups;
  if (all) {
    for (const TensorInfo& tensor : tensors) groups.push_back(group_of(tensor));
  } else {
    groups = tensor_groups(tensors);
  }
  std::size_t width = 0;
  for (const TensorGroup& group : groups) width = std::max(width, group.name.size());
  for (const TensorGroup& group : groups) {
    print("    {:<{}}  {}  {}\n", group.name, width, group.what, size_text(group.bytes));
  }
}

// What a run's state amounts to.
void print_state(const CheckpointState& state) {
  const auto value = [&](const std::string& section, const std::string& key) {
    const auto& values = state.at(section);
    return values.contains(key)
               ? std::visit([](const auto& x) { return fmt::format("{}", x); }, values.at(key))
               : "?";
  };
  if (state.contains("run")) {
    print("  {} tokens, written by memengine {}\n", value("run", "total_tokens"),
          value("run", "version"));
  }
  for (int i = 0; state.contains(fmt::format("loader.source.{}", i)); ++i) {
    const std::string source = fmt::format("loader.source.{}", i);
    print("  data {}: {} sequences drawn, {} are an epoch\n", value(source, "name"),
          value(source, "drawn"), value(source, "windows"));
  }
}

void print_all_state(const CheckpointState& state) {
  for (const auto& [section, values] : state) {
    for (const auto& [key, value] : values) {
      if (section == "run" && key == "config") continue;
      const std::string text =
          std::visit([](const auto& x) { return fmt::format("{}", x); }, value);
      print("  {:<28} {}\n", section + "." + key, text);
    }
  }
}

// One line of a chain: what a checkpoint is, and what it stands on.
void print_link(const fs::path& root, std::int64_t step, bool verify) {
  try {
    const CheckpointSummary summary = Checkpoint(root / checkpoint_name(step), verify).summary();
    print("  step {:>12}  {:>10}  {}\n", grouped(step), size_text(summary.bytes),
          summary.base_step < 0 ? "full"
                                : fmt::format("on top of step {}", grouped(summary.base_step)));
  } catch (const Error& error) {
    print("  step {:>12}  damaged: {}\n", grouped(step), error.what());
  }
}

void print_checkpoint(const fs::path& folder, const InspectArguments& arguments) {
  const Checkpoint checkpoint(folder, !arguments.no_verify);
  const CheckpointSummary summary = checkpoint.summary();
  print("{}: checkpoint of step {}, {}\n", folder.string(), grouped(summary.step),
        size_text(summary.bytes));
  if (summary.base_step >= 0) {
    print("  an increment: rows updated since step {}, on top of that full checkpoint ({})\n",
          grouped(summary.base_step), size_text(summary.base_bytes));
  }
  (arguments.all_tensors ? print_all_state : print_state)(checkpoint.state());
  for (const CheckpointSummary::File& file : summary.files) {
    print("  {}  {}, {}\n", file.name,
          counted(static_cast<std::int64_t>(file.tensors.size()), "tensor"), size_text(file.bytes));
    print_tensors(file.tensors, arguments.all_tensors);
  }
  if (arguments.no_verify) return;
  std::fflush(stdout);
  checkpoint.verify();
  print("  every block agrees with its checksum\n");
}

}  // namespace

void inspect_checkpoint(const InspectArguments& arguments) {
  const fs::path& path = arguments.path;
  std::error_code error;
  if (fs::exists(path / "state.json", error)) return print_checkpoint(path, arguments);
  const std::vector<std::int64_t> steps =
      fs::is_directory(path, error) ? checkpoint_steps(path) : std::vector<std::int64_t>();
  if (!steps.empty()) {
    print("{}: {}\n", path.string(),
          counted(static_cast<std::int64_t>(steps.size()), "checkpoint"));
    constexpr std::size_t shown = 6;
    const std::size_t first =
        arguments.all_tensors || steps.size() <= shown ? 0 : steps.size() - shown;
    if (first > 0) print("  {} older\n", counted(static_cast<std::int64_t>(first), "checkpoint"));
    for (std::size_t i = first; i < steps.size(); ++i) {
      print_link(path, steps[i], !arguments.no_verify);
    }
    return print_checkpoint(path / checkpoint_name(steps.back()), arguments);
  }
  const SafetensorsReader reader(path);
  std::uint64_t bytes = 0;
  for (const TensorInfo& tensor : reader.tensors()) bytes += tensor.bytes;
  print("{}: {}, {}\n", path.string(),
        counted(static_cast<std::int64_t>(reader.tensors().size()), "tensor"), size_text(bytes));
  for (const auto& [key, value] : reader.metadata()) print("  {:<28} {}\n", key, value);
  print_tensors(reader.tensors(), arguments.all_tensors);
  if (arguments.no_verify) return;
  std::fflush(stdout);
  if (reader.verify()) print("  every block agrees with its checksum\n");
}

}  // namespace memengine
