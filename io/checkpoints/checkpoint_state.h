// state.json: a checkpoint's step, scalars and checksums, as text that proves its own integrity.
//
// The text is canonical (keys sorted, one layout) and carries a checksum of itself, so that any
// change to any byte is noticed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoints/checkpoint.h"

namespace memengine {

struct BlockChecksums {
  std::uint64_t bytes = 0;        // of the file
  std::uint64_t block_bytes = 0;  // of a block; the last may be shorter
  std::vector<std::uint64_t> blocks;
};

// A state.json that is larger is none.
inline constexpr std::uint64_t max_state_bytes = 256u << 20;

struct StateFile {
  std::int64_t step = 0;
  std::string owner;  // SaveOptions::owner
  CheckpointState sections;
  std::map<std::string, BlockChecksums> files;  // by file name
  std::optional<Increment> increment;
  std::vector<std::string> spread;  // names of the spread files, in the order of the ranks
};

std::uint64_t block_checksum(std::span<const std::byte> bytes);

// Of a whole state.json, which covers everything else in its folder: hexadecimal.
std::string state_checksum(std::string_view text);

std::string write_state(const StateFile& state);
// `name` is for messages. Input error for anything that write_state would not have written.
StateFile read_state(const std::string& name, std::string_view text);

}  // namespace memengine
