// See checkpoint.h: the order of operations that makes a save atomic, and what a killed one leaves.
//
// Names in a root: `0000001000` complete; `.saving-0000001000-<owner>` being written;
// `.replaced-...` an older one of the same step, set aside until its replacement has its name;
// `.removing-...` being removed. The owner's identity in these names, or in state.json, is what
// tells ours from others'.
#include "io/checkpoints/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/checkpoints/checkpoint_state.h"
#include "io/files/is_there.h"
#include "io/text/ascii.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/memory/bytes_text.h"
#include "kernels/runtime/ranks/together.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view saving = ".saving-";
constexpr std::string_view replaced = ".replaced-";
constexpr std::string_view removing = ".removing-";

bool is_step_name(std::string_view name) {
  return name.size() == 10 && std::all_of(name.begin(), name.end(), is_digit);
}

std::vector<std::string> entries(const fs::path& root) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator at(root, error), end; !error && at != end; at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    fail_input("{}: cannot list the folder: {}", root.string(), error.message());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string other_name(std::string_view start, const std::string& name, const std::string& owner) {
  return std::string(start) + name + (owner.empty() ? "" : "-" + owner);
}

// A checkpoint that `owner` wrote, and nothing beside it in its folder.
bool is_own(const fs::path& folder, const std::string& owner) {
  std::error_code error;
  if (!fs::is_directory(fs::symlink_status(folder, error))) return false;
  try {
    const fs::path path = folder / "state.json";
    const StateFile state = read_state(path.string(), read_text_file(path, max_state_bytes));
    const std::vector<std::string> names = entries(folder);
    return state.owner == owner && std::all_of(names.begin(), names.end(), [&](const auto& name) {
             return name == "state.json" || state.files.contains(name);
           });
  } catch (const Error&) {
    return false;
  }
}

// Gives the folder a name that no reader takes for a checkpoint before taking it apart.
void remove_checkpoint(FileSystem& files, const fs::path& root, const std::string& name,
                       const std::string& owner) {
  const fs::path doomed = root / other_name(removing, name, owner);
  files.rename(root / name, doomed);
  files.remove_all(doomed);
}

std::uint64_t bytes_of(std::span<const CheckpointFile> contents) {
  std::uint64_t bytes = 0;
  for (const CheckpointFile& file : contents) bytes += safetensors_bytes(file.tensors, {});
  return bytes;
}

void check_room(FileSystem& files, const fs::path& root, const fs::path& target,
                std::uint64_t needed) {
  needed += 1 << 20;  // state.json and the file system's own
  const std::uint64_t available = files.free_bytes(root);
  if (needed > available) {
    fail_input(
        "{}: the checkpoint needs {} and the disk has {} free; free some space, lower "
        "checkpoint.dump.keep or set checkpoint.path",
        target.string(), bytes_text(static_cast<std::int64_t>(needed)),
        bytes_text(static_cast<std::int64_t>(available)));
  }
}

// Writes this rank's files, and returns what state.json is to say of them.
StateFile write_contents(FileSystem& files, const fs::path& folder,
                         std::span<const CheckpointFile> contents, const SaveOptions& options) {
  StateFile record;
  for (const CheckpointFile& file : contents) {
    if (file.spread) record.spread.push_back(file.name);
    BlockChecksums& sums = record.files[file.name];
    if (sums.block_bytes != 0) fail_internal("checkpoint file {} is written twice", file.name);
    sums.bytes = safetensors_bytes(file.tensors, {});
    sums.block_bytes = options.block_bytes;
    sums.blocks.resize((sums.bytes + options.block_bytes - 1) / options.block_bytes);
    SafetensorsWriting writing;
    writing.block_bytes = options.block_bytes;
    writing.threads = options.threads;
    writing.on_block = [&sums](std::size_t number, std::span<const std::byte> block) {
      sums.blocks[number] = block_checksum(block);
    };
    write_safetensors(files, folder / file.name, file.tensors, {}, writing);
  }
  return record;
}

// Returns the text of state.json, which says `of_ranks` one after the other.
std::string write_record(FileSystem& files, const fs::path& folder, std::int64_t step,
                         const std::vector<std::string>& of_ranks, const CheckpointState& state,
                         const SaveOptions& options) {
  StateFile record;
  record.step = step;
  record.owner = options.owner;
  record.sections = state;
  record.increment = options.increment;
  for (const std::string& text : of_ranks) {
    const StateFile part = read_state("a rank's files", text);
    for (const auto& [name, sums] : part.files) {
      if (!record.files.emplace(name, sums).second) {
        fail_internal("two ranks write checkpoint file {}", name);
      }
    }
    record.spread.insert(record.spread.end(), part.spread.begin(), part.spread.end());
  }
  const std::string written = write_state(record);
  OutputFile text(files, folder / "state.json");
  text.append(written);
  text.finish();
  files.sync_folder(folder);
  return written;
}

// Removes what is older than the newest `keep` whole checkpoints of this owner. `saved`, just
// written, is one of them, should there be later ones that a resumed run has fallen behind; a base
// stays with its increments.
void remove_old(FileSystem& files, const fs::path& root, std::int64_t saved,
                const SaveOptions& options) {
  std::set<std::int64_t> kept = {saved};
  if (options.increment) kept.insert(options.increment->base.step);
  std::int64_t whole = 1;
  std::vector<std::int64_t> doomed;  // newest first: an increment goes before its base
  std::vector<std::int64_t> steps = checkpoint_steps(root);
  std::reverse(steps.begin(), steps.end());
  for (const std::int64_t step : steps) {
    if (step == saved || !is_own(root / checkpoint_name(step), options.owner)) continue;
    if (whole >= options.keep) {
      doomed.push_back(step);
      continue;
    }
    kept.insert(step);  // damaged ones too, for whoever wants to look at them
    if (options.damaged.contains(step)) continue;
    try {
      kept.insert(Checkpoint(root / checkpoint_name(step)).base().step);
      ++whole;
    } catch (const Error&) {
    }
  }
  for (const std::int64_t step : doomed) {
    if (!kept.contains(step)) {
      remove_checkpoint(files, root, checkpoint_name(step), options.owner);
    }
  }
  files.sync_folder(root);
}

// "0000001000.other", with a number after it where that is taken.
fs::path free_name(const fs::path& path) {
  fs::path name = path.string() + ".other";
  for (int number = 2; is_there(name); ++number) {
    name = fmt::format("{}.other-{}", path.string(), number);
  }
  return name;
}

}  // namespace

std::string checkpoint_name(std::int64_t step) {
  if (step < 0 || step > 9'999'999'999)
    fail_input("step {} cannot name a checkpoint (0 to 9999999999)", step);
  return fmt::format("{:010}", step);
}

std::vector<std::int64_t> checkpoint_steps(const fs::path& root) {
  std::vector<std::int64_t> steps;
  for (const std::string& name : entries(root)) {
    if (is_step_name(name)) steps.push_back(std::stoll(name));
  }
  return steps;
}

bool holds_checkpoints(const fs::path& root) {
  for (const std::int64_t step : checkpoint_steps(root)) {
    try {
      const fs::path path = root / checkpoint_name(step) / "state.json";
      read_state(path.string(), read_text_file(path, max_state_bytes));
      return true;
    } catch (const Error&) {
    }
  }
  return false;
}

void restore_checkpoints(FileSystem& files, const fs::path& root) {
  bool changed = false;
  for (const std::string& name : entries(root)) {
    const std::size_t at = name.starts_with(replaced) ? replaced.size() : name.size();
    const std::string step = name.substr(at, 10);
    const bool aside = is_step_name(step) && (name.size() == at + 10 || name[at + 10] == '-');
    if (!aside || is_there(root / step) || !is_there(root / name / "state.json")) continue;
    files.rename(root / name, root / step);
    changed = true;
  }
  if (changed) files.sync_folder(root);
}

void recover_checkpoints(FileSystem& files, const fs::path& root, const std::string& owner) {
  restore_checkpoints(files, root);
  bool changed = false;
  for (const std::string& name : entries(root)) {
    for (const std::string_view start : {saving, removing, replaced}) {
      if (!name.starts_with(start)) continue;
      const std::string step = name.substr(start.size(), 10);
      std::error_code error;
      if (!is_step_name(step) || name != other_name(start, step, owner)) continue;
      if (!fs::is_directory(fs::symlink_status(root / name, error))) continue;
      files.remove_all(root / name);
      changed = true;
    }
  }
  if (changed) files.sync_folder(root);
}

namespace {

// Gives the folder that was written its name. `moved`: to where what stood there went that is not
// ours.
void put_in_place(FileSystem& files, const fs::path& temporary, const fs::path& target,
                  const fs::path& aside, const std::string& owner, fs::path& moved) {
  if (is_there(target) && is_own(target, owner)) {
    files.rename(target, aside);
  } else if (is_there(target)) {
    moved = free_name(target);
    files.rename(target, moved);
  }
  files.rename(temporary, target);
}

}  // namespace

SavedCheckpoint save_checkpoint(FileSystem& files, const fs::path& root, std::int64_t step,
                                std::span<const CheckpointFile> contents,
                                const CheckpointState& state, const SaveOptions& options,
                                std::string* trouble) {
  Communicator alone;
  Communicator& ranks = options.ranks != nullptr ? *options.ranks : alone;
  const bool first = ranks.rank() == 0;
  const std::string name = checkpoint_name(step);
  const fs::path target = root / name;
  const fs::path temporary = root / other_name(saving, name, options.owner);
  const fs::path aside = root / other_name(replaced, name, options.owner);
  const std::uint64_t bytes = ranks.sum(bytes_of(contents));
  do_together(ranks, [&] {
    if (!first) return;
    files.make_folder(root);
    recover_checkpoints(files, root, options.owner);
    check_room(files, root, target, bytes);
  });
  SavedCheckpoint saved{target, {}, 0};
  bool named = false;
  fs::path moved;
  std::string written;  // state.json
  try {
    do_together(ranks, [&] {
      if (first) files.make_folder(temporary);
    });
    std::string mine;
    do_together(ranks,
                [&] { mine = write_state(write_contents(files, temporary, contents, options)); });
    const std::vector<std::string> of_ranks = gather_texts(ranks, mine);
    do_together(ranks, [&] {
      if (!first) return;
      written = write_record(files, temporary, step, of_ranks, state, options);
      put_in_place(files, temporary, target, aside, options.owner, moved);
      named = true;
      files.sync_folder(root);
    });
  } catch (...) {
    // Best effort: what cannot be undone now is undone by the next recover_checkpoints. A complete
    // checkpoint that has its name is left, although the disk may not know of it yet.
    std::error_code ignored;
    if (first && !named) fs::remove_all(temporary, ignored);
    if (first && !is_there(target) && is_there(aside)) fs::rename(aside, target, ignored);
    if (first && !is_there(target) && !moved.empty()) fs::rename(moved, target, ignored);
    throw;
  }
  if (!moved.empty() && trouble != nullptr) {
    *trouble = fmt::format("what stood at {} was not of this run and is now {}", target.string(),
                           moved.string());
  }
  if (first) {
    try {
      if (is_there(aside)) files.remove_all(aside);
      if (options.keep > 0) remove_old(files, root, step, options);
    } catch (const Error& error) {
      if (trouble == nullptr || error.kind() != Error::Kind::input) throw;
      *trouble = fmt::format("old checkpoints were not removed: {}", error.what());
    }
  }
  const std::string said = first ? state_checksum(written) : "";
  saved.checksum = gather_texts(ranks, said).front();
  saved.bytes = bytes + ranks.gather<std::uint64_t>(written.size()).front();
  return saved;
}

}  // namespace memengine
