// Folders that a failed command must not leave behind.
#pragma once

#include <filesystem>
#include <vector>

namespace memengine {

// Remembers which folders on the way to `path`, itself included, are not there yet; at the end of
// its life it removes those of them that are there and empty.
class NewFolders {
 public:
  explicit NewFolders(const std::filesystem::path& path) {
    std::error_code ignored;
    for (std::filesystem::path at = path; !at.empty(); at = at.parent_path()) {
      if (at.has_filename()) {  // "data/" is "data"
        if (std::filesystem::exists(at, ignored)) break;
        deepest_first_.push_back(at);
      }
      if (at == at.parent_path()) break;
    }
  }
  ~NewFolders() {
    std::error_code ignored;
    for (const std::filesystem::path& folder : deepest_first_) {
      if (std::filesystem::is_directory(folder, ignored) &&
          std::filesystem::is_empty(folder, ignored)) {
        std::filesystem::remove(folder, ignored);
      }
    }
  }
  NewFolders(const NewFolders&) = delete;
  NewFolders& operator=(const NewFolders&) = delete;

 private:
  std::vector<std::filesystem::path> deepest_first_;
};

}  // namespace memengine
