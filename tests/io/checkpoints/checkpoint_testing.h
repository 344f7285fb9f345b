// Changes a checkpoint and seals it again, as only its program could have written it.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_state.h"
#include "tests/io/temporary_folder.h"

namespace memengine {

struct NewestCheckpoint {
  std::optional<Checkpoint> checkpoint;  // empty when there is none that is whole
  std::vector<std::string> skipped;  // newer ones that are damaged: one line each, with the reason
};

// The newest checkpoint whose every block verifies.

inline NewestCheckpoint newest_checkpoint(const std::filesystem::path& root) {
  NewestCheckpoint result;
  const std::vector<std::int64_t> steps = checkpoint_steps(root);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      Checkpoint candidate(root / checkpoint_name(*step));
      candidate.verify();
      result.checkpoint.emplace(std::move(candidate));
      break;
    } catch (const Error& error) {
      result.skipped.push_back(error.what());
    }
  }
  return result;
}

namespace testing_io {

// A tensor of these bytes, for a save.
inline CheckpointTensor tensor(const std::string& name, FileDtype dtype,
                               std::vector<std::int64_t> shape, const std::string& bytes) {
  return {name, dtype, std::move(shape), [bytes](std::uint64_t offset, std::span<std::byte> block) {
            std::memcpy(block.data(), bytes.data() + offset, block.size());
          }};
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Gives state.json the checksums of the files as they are now, after `change` was made to it.
inline void reseal(const std::filesystem::path& folder,
                   const std::function<void(StateFile&)>& change = {}) {
  const std::filesystem::path path = folder / "state.json";
  StateFile state = read_state("state", file_bytes(path));
  if (change) change(state);
  for (auto& [name, sums] : state.files) {
    const std::string bytes = file_bytes(folder / name);
    sums.bytes = bytes.size();
    sums.blocks.clear();
    for (std::size_t at = 0; at < bytes.size(); at += sums.block_bytes) {
      const std::string_view block = std::string_view(bytes).substr(at, sums.block_bytes);
      sums.blocks.push_back(block_checksum(std::as_bytes(std::span(block))));
    }
  }
  write_bytes(path, write_state(state));
}

// Lets `change` alter the bytes of one tensor of a safetensors file.
inline void alter_tensor(const std::filesystem::path& file, const std::string& tensor,
                         const std::function<void(std::span<char>)>& change) {
  std::string bytes = file_bytes(file);
  const SafetensorsHeader header = read_safetensors_header(
      file.string(), bytes.size(), [&](std::uint64_t offset, std::span<std::byte> part) {
        std::memcpy(part.data(), bytes.data() + offset, part.size());
      });
  for (const TensorInfo& info : header.tensors) {
    if (info.name != tensor) continue;
    change(std::span(bytes).subspan(header.data_start + info.offset, info.bytes));
    write_bytes(file, bytes);
    return;
  }
  fail_input("no tensor {}", tensor);
}

}  // namespace testing_io
}  // namespace memengine
