// Documents on their way to a sorted order, on the disk: the two halves of a bucket sort.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace memengine {

// 2^bits files in a folder; a document goes to the file that `bits` bits of its key name, after
// the first `skip` bits. Any number of threads may append.
class SpillFiles {
 public:
  // Starts the files, or goes on with those whose lengths are given, cut to these lengths.
  SpillFiles(const std::filesystem::path& folder, int skip, int bits,
             const std::vector<std::int64_t>* lengths = nullptr);
  ~SpillFiles();
  SpillFiles(const SpillFiles&) = delete;
  SpillFiles& operator=(const SpillFiles&) = delete;

  void append(std::uint64_t key, std::span<const std::uint8_t> tokens);

  // Brings everything to the disk; the lengths of all files.
  std::vector<std::int64_t> flush();

 private:
  struct File;
  int skip_, bits_;
  std::vector<std::unique_ptr<File>> files_;
};

// Whether the files of a set are there with at least these lengths.
bool has_spill_files(const std::filesystem::path& folder, const std::vector<std::int64_t>& lengths);

// Calls `each` with the tokens of every document of a finished set, in the order of their keys. A
// file longer than `memory_bytes` is split further first, in a folder below `folder`. `stop` is
// asked between files; true ends early. Returns false when it did. Input error where a file is not
// as it was written.
bool drain_spill(const std::filesystem::path& folder, int skip, int bits, std::int64_t memory_bytes,
                 const std::function<void(std::span<const std::uint8_t>)>& each,
                 const std::function<bool()>& stop);

}  // namespace memengine
