// What the repository holds: its files and folders, and the words of its code.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace memengine::prose {

class Tree {
 public:
  // Reads the rooms below `root` (every folder at the top that has sources, pages or configs) and
  // the files at the top. The checker's own tests are left out: they are full of wrong names.
  explicit Tree(const std::filesystem::path& root);

  const std::filesystem::path& root() const { return root_; }
  // Paths from the root; folders without a slash at the end.
  const std::set<std::string>& files() const { return files_; }
  const std::set<std::string>& folders() const { return folders_; }
  bool is_room(const std::string& first_part) const;
  // Whether a path with `*` or `<x>` names a file or a folder.
  bool has_path(const std::string& path) const;
  // Whether some file's path ends with this path (a whole file name at least).
  bool has_path_ending_with(const std::string& path) const;
  std::string nearest_path(const std::string& path) const;

  // Identifiers of code, texts in quotes included, comments not.
  bool has_word(const std::string& name) const { return words_.contains(name); }
  const std::set<std::string>& words() const { return words_; }
  // Whether code has these characters anywhere outside of comments.
  bool code_contains(std::string_view text) const;

 private:
  void take_code(const std::string& path);

  std::filesystem::path root_;
  std::set<std::string> files_, folders_, words_;
  std::vector<std::string> code_;
};

// C++ and CUDA without comments.
std::string without_comments(std::string_view code);

}  // namespace memengine::prose
