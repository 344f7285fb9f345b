// Checkpoints that survive a crash at any moment.
//
// A checkpoint is a folder `<root>/0000001000` (the step, ten digits) of safetensors files and a
// `state.json` with everything that is not a tensor and a checksum (XXH3) of every block of every
// file. It is written under a temporary name, every file and the folder flushed to the disk, then
// renamed, so a folder with a ten-digit name is always complete; only after that are old ones
// removed, and only those that the same owner wrote: what else stands in a root is somebody's.
// Loading verifies every block it hands out, so damage is never trained on.
//
// An increment is a checkpoint that holds, of its largest tensors, only the rows that differ from a
// full checkpoint before it in the same root, its base, which it names by step and checksum. It
// reads like a full one; a chain never has more than these two links. A base stays as long as there
// is a checkpoint that needs it.
//
// Several ranks write one checkpoint together, each its own files beside those of the others, and
// it counts as one once all of them are there. A tensor whose rows are spread over the ranks lies
// in a spread file of each (rank r has rows r, r + ranks, r + 2 ranks, ...) and reads as the whole,
// by any number of ranks.
//
// Generic on purpose: tensors are named bytes that the caller streams in and out, state is maps
// from names to scalars. Errors are input errors of one line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/error.h"

namespace memengine {

// What is not a tensor. Numbers come back exactly; a double must be finite.
using StateValue = std::variant<bool, std::int64_t, double, std::string>;
using StateSection = std::map<std::string, StateValue>;
using CheckpointState = std::map<std::string, StateSection>;

using CheckpointTensor = TensorSource;

struct CheckpointFile {
  std::string name;  // "model.safetensors"
  std::vector<CheckpointTensor> tensors;
  bool spread = false;  // this rank's part of each of its tensors, or of an increment's rows
};

// A full checkpoint as increments name it.
struct CheckpointBase {
  std::int64_t step = 0;
  std::string checksum;  // Checkpoint::checksum()
};

// `patches`: tensor of the base -> tensor [K] i32, ascending, of the rows that the checkpoint's own
// tensor of the same name [K, ...] replaces.
struct Increment {
  CheckpointBase base;
  std::map<std::string, std::string> patches;
};

struct SaveOptions {
  // Whole checkpoints to keep, this one included; at most 0: all. Older ones are removed, but for
  // the bases of those that stay.
  std::int64_t keep = -1;
  std::size_t block_bytes = 16u << 20;  // streamed and checksummed in blocks of this size
  // As in SafetensorsWriting: the tensors must stand being read by several threads.
  std::size_t threads = 1;
  std::optional<Increment> increment;
  std::set<std::int64_t> damaged;  // steps known to be damaged: they do not count towards `keep`
  // Who writes: the run's identity (OutputFolder::id). It stands in state.json and in the names of
  // half-written folders; nothing is removed or replaced that has another one.
  std::string owner;
  // All ranks of it save together, each with files of its own names, and either all fail or none.
  // Rank 0 does what is done once; `contents` may differ, at most one of a rank's files is spread,
  // and where one has such a file all have. Null: one rank.
  Communicator* ranks = nullptr;
};

struct SavedCheckpoint {
  std::filesystem::path path;
  std::string checksum;     // as of Checkpoint
  std::uint64_t bytes = 0;  // of all files
};

// Writes `<root>/<step>`. Asks first whether the disk has room, and takes it before writing. On any
// failure the checkpoints before stay as they were and nothing half-written keeps a checkpoint's
// name. An existing checkpoint of the same step and owner is replaced; anything else of that name
// is given another one, which `trouble` tells. One writer per root (see OutputFolder). A failure to
// remove old ones does not undo the save: it is told in `trouble`, when given.
SavedCheckpoint save_checkpoint(FileSystem& files, const std::filesystem::path& root,
                                std::int64_t step, std::span<const CheckpointFile> contents,
                                const CheckpointState& state, const SaveOptions& options = {},
                                std::string* trouble = nullptr);

// Puts back checkpoints, anybody's, that were set aside for a replacement which never arrived.
void restore_checkpoints(FileSystem& files, const std::filesystem::path& root);
// Puts a root in order after a killed run of this owner: the same for its checkpoints, and removes
// what it left half-written and half-removed.
void recover_checkpoints(FileSystem& files, const std::filesystem::path& root,
                         const std::string& owner = "");

// Steps of the checkpoints in a root, ascending; empty when the root does not exist.
std::vector<std::int64_t> checkpoint_steps(const std::filesystem::path& root);
std::string checkpoint_name(std::int64_t step);
// Whether a root holds a checkpoint of this program, by the state.json in it.
bool holds_checkpoints(const std::filesystem::path& root);

// What `inspect` shows.
struct CheckpointSummary {
  std::int64_t step = 0;
  std::uint64_t bytes = 0;      // of all files
  std::int64_t base_step = -1;  // of an increment
  std::uint64_t base_bytes = 0;
  struct File {
    std::string name;
    std::uint64_t bytes = 0;
    std::vector<TensorInfo> tensors;
  };
  std::vector<File> files;
};

// A checkpoint that is not as it was written; an older one may be whole.
class DamagedCheckpoint : public Error {
 public:
  explicit DamagedCheckpoint(const std::string& message) : Error(Kind::input, message) {}
};

// Where a tensor is loaded to. `write(offset, bytes)` takes a piece of it.
struct TensorSink {
  std::string name;
  std::function<void(std::uint64_t, std::span<const std::byte>)> write;
  // Whether `write` may be called from several threads, for pieces in any order; each byte of the
  // tensor once, or twice in an increment: the later call counts.
  bool concurrent = true;
  // Of the tensor's rows, `write` needs only those with row modulo `ranks` = `rank`: others are
  // left out where that saves reading a file.
  std::int64_t rank = 0, ranks = 1;
};

// An open checkpoint. The constructor checks state.json, sizes and headers, of the base too; reads
// verify the blocks they touch. What is wrong with the files is thrown as DamagedCheckpoint. Not
// for use from several threads at once.
class Checkpoint {
 public:
  // Without `verify` no checksum of a block is compared: to look at what is damaged, never to load.
  explicit Checkpoint(const std::filesystem::path& folder, bool verify = true);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;

  std::int64_t step() const;
  const std::filesystem::path& folder() const;
  const CheckpointState& state() const;
  const std::string& owner() const;  // SaveOptions::owner; empty in those of older versions
  // Of state.json, which has the checksums of all else.
  const std::string& checksum() const;
  // Of an increment; otherwise itself.
  CheckpointBase base() const;
  // Input error that names the section or key when it is missing or of another type.
  const StateSection& section(const std::string& name) const;
  template <typename T>
  T get(const std::string& section, const std::string& key) const;

  // Null when absent. A name that stands in several files is found in the first.
  const TensorInfo* find(std::string_view tensor) const;
  // Fills `bytes` from a byte offset within the tensor. Rising offsets read each block once.
  void read(std::string_view tensor, std::uint64_t offset, std::span<std::byte> bytes) const;
  // Reads and verifies the tensors of all sinks, each block once, on several threads.
  void load(std::span<const TensorSink> sinks, std::size_t threads) const;
  CheckpointSummary summary() const;
  // Checks every block of every file, of the base too, on several threads; fails at the first bad
  // one.
  void verify() const;

 private:
  [[noreturn]] void fail_state(const std::string& section, const std::string& key) const;
  const StateValue* value(const std::string& section, const std::string& key) const;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

template <typename T>
T Checkpoint::get(const std::string& section, const std::string& key) const {
  const StateValue* found = value(section, key);
  if (!found || !std::holds_alternative<T>(*found)) fail_state(section, key);
  return std::get<T>(*found);
}

}  // namespace memengine
