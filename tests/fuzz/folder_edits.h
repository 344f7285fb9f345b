// Folders for fuzz targets: originals that are made once, and copies of them with edits that an
// input describes.
//
// An edit is: the file's number in the list (1 byte), the kind (1 byte), the length of what follows
// (2 bytes, little-endian), and so many bytes. Kinds: 0 the bytes replace the file; 1 they are
// groups of (place, place, value) by which bytes of the file are changed; 2 the file is cut to the
// length; 3 it is gone; 4 a folder; 5 a FIFO; 6 a link to itself; 7 the bytes are appended.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tests/io/temporary_folder.h"

namespace memengine {

class FolderEdits {
 public:
  explicit FolderEdits(std::vector<std::string> names) : names_(std::move(names)) {}

  std::filesystem::path folder() const { return folder_.path(); }
  void write(const std::string& name, const std::string& bytes) { folder_.write(name, bytes); }
  std::filesystem::path original(const std::string& name) const { return folder_ / name; }

  // A fresh copy of an original, in place of the last one.
  std::filesystem::path copy(const std::string& name) const {
    const std::filesystem::path to = folder_ / "copy";
    std::filesystem::remove_all(to);
    std::filesystem::copy(folder_ / name, to, std::filesystem::copy_options::recursive);
    return to;
  }

  // One edit of each kind of each file of an original.
  std::vector<std::string> seeds(const std::string& original) const {
    std::vector<std::string> seeds;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      const std::string bytes = file_bytes(folder_ / original / names_[i]).substr(0, 4000);
      for (char kind = 0; kind < 8; ++kind) {
        const std::string part = kind == 0 ? bytes : kind == 1 ? std::string("\0\1\xff", 3) : "x";
        seeds.push_back(std::string{static_cast<char>(i), kind, static_cast<char>(part.size()),
                                    static_cast<char>(part.size() >> 8)} +
                        part);
      }
    }
    return seeds;
  }

  // Never outside `folder`; what cannot be done is left undone.
  void apply(std::string_view edits, const std::filesystem::path& folder) const {
    namespace fs = std::filesystem;
    while (edits.size() >= 4) {
      const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(edits[i]); };
      const fs::path path = folder / names_[byte(0) % names_.size()];
      const int kind = byte(1) % 8;
      const std::size_t length = byte(2) + 256u * byte(3);
      edits.remove_prefix(4);
      const std::string part(edits.substr(0, length));
      edits.remove_prefix(std::min(length, edits.size()));
      std::error_code error;
      const bool regular = fs::is_regular_file(fs::symlink_status(path, error));
      std::string bytes = regular ? file_bytes(path) : "";
      if (kind == 0) bytes = part;
      for (std::size_t i = 0; kind == 1 && i + 3 <= part.size() && !bytes.empty(); i += 3) {
        const auto place =
            static_cast<unsigned char>(part[i]) + 256u * static_cast<unsigned char>(part[i + 1]);
        bytes[place % bytes.size()] = part[i + 2];
      }
      if (kind == 2) bytes.resize(std::min(bytes.size(), length));
      if (kind == 7) bytes += part;
      fs::remove_all(path, error);
      fs::create_directories(path.parent_path(), error);
      if (kind <= 2 || kind == 7) {
        std::ofstream(path, std::ios::binary) << bytes;
      } else if (kind == 4) {
        fs::create_directory(path, error);
      } else if (kind == 5) {
        ::mkfifo(path.c_str(), 0600);
      } else if (kind == 6) {
        fs::create_symlink(path.filename(), path, error);
      }
    }
  }

 private:
  TemporaryFolder folder_;
  std::vector<std::string> names_;
};

}  // namespace memengine
