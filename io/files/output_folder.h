// The folder that a command writes into.
//
// It is empty, new, or marked as a folder of the same kind before; anything else is somebody
// else's, and refused with the name of what stands there, before a byte is written. Whoever holds
// an OutputFolder is the only one who does: `<folder>/.memengine`, the mark, is locked with flock,
// on the file itself and so whatever path leads there, and the system lets go of it when the
// process dies, however it dies.
//
//   memengine 3f2a9c1d08e4b775 training run        the identity, drawn once, and the kind
//   process 4711 on host                           the holder, or the last one
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace memengine {

struct FolderMark {
  std::string id;    // 16 hexadecimal digits
  std::string kind;  // "training run"
};

// The mark in a folder; none where there is none, or one that cannot be read.
std::optional<FolderMark> read_folder_mark(const std::filesystem::path& folder);

class OutputFolder {
 public:
  // Makes the folder where it is not there. `is_older`, when given, says whether a folder without a
  // mark is one that an older version of this program wrote. Input errors: not ours, of another
  // kind, in use (with the holder's name), not writable.
  OutputFolder(const std::filesystem::path& folder, std::string_view kind,
               const std::function<bool()>& is_older = {});
  // A folder in which nothing was written is as it was before.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  const std::string& id() const { return mark_.id; }
  // Whether it was marked before.
  bool was_ours() const { return was_ours_; }

 private:
  bool lock();
  void check_entries() const;

  std::filesystem::path folder_;
  FolderMark mark_;
  int descriptor_ = -1;
  bool was_there_ = false, was_ours_ = false, is_older_ = false;
};

}  // namespace memengine
