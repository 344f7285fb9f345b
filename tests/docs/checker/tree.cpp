#include "tests/docs/checker/tree.h"

#include <algorithm>

#include "tests/docs/checker/words.h"

namespace memengine::prose {
namespace {

constexpr std::string_view rooms[] = {".ci", "cli",     "configs", "docs",  "engine",
                                      "io",  "kernels", "model",   "optim", "tests"};

bool ends_with_one_of(const std::string& path, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](std::string_view ending) { return path.ends_with(ending); });
}

}  // namespace

Tree::Tree(const std::filesystem::path& root) : root_(root) {
  namespace fs = std::filesystem;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.is_regular_file()) files_.insert(entry.path().filename().string());
  }
  for (const std::string_view room : rooms) {
    if (!fs::is_directory(root / room)) continue;
    folders_.emplace(room);
    for (const auto& entry : fs::recursive_directory_iterator(root / room)) {
      const std::string path = entry.path().lexically_relative(root).generic_string();
      (entry.is_directory() ? folders_ : files_).insert(path);
    }
  }
  for (const std::string& path : files_) {
    if (!path.starts_with("tests/docs/")) take_code(path);
  }
}

void Tree::take_code(const std::string& path) {
  std::string text;
  if (ends_with_one_of(path, {".h", ".cpp", ".cu", ".cuh"})) {
    text = without_comments(read_text(root_ / path));
  } else if (ends_with_one_of(path, {".yaml", ".sh", ".py", ".cmake", "CMakeLists.txt", ".ci/run",
                                     "CMakePresets.json", "Makefile", "Dockerfile"})) {
    // Lines of comment; a '#' within a line may be part of a text.
    for (const std::string& line : split_lines(read_text(root_ / path))) {
      if (!trimmed(line).starts_with('#')) text += line + "\n";
    }
  } else {
    return;
  }
  for (Identifier& word : identifiers(text)) words_.insert(std::move(word.name));
  code_.push_back(std::move(text));
}

bool Tree::is_room(const std::string& first_part) const {
  return std::find(std::begin(rooms), std::end(rooms), first_part) != std::end(rooms);
}

bool Tree::has_path(const std::string& path) const {
  const std::string name = path.ends_with('/') ? path.substr(0, path.size() - 1) : path;
  if (name.find_first_of("*<") == std::string::npos) {
    return folders_.contains(name) || (!path.ends_with('/') && files_.contains(name));
  }
  const auto fits = [&](const std::string& known) { return matches(name, known); };
  return std::any_of(folders_.begin(), folders_.end(), fits) ||
         std::any_of(files_.begin(), files_.end(), fits);
}

bool Tree::has_path_ending_with(const std::string& path) const {
  return std::any_of(files_.begin(), files_.end(), [&](const std::string& file) {
    return file == path || file.ends_with("/" + path) ||
           (path.find_first_of("*<") != std::string::npos &&
            matches(path, file.substr(file.rfind('/') + 1)));
  });
}

std::string Tree::nearest_path(const std::string& path) const {
  // A file that moved keeps its name.
  const std::string name = path.substr(path.rfind('/') + 1);
  for (const std::string& file : files_) {
    if (!name.empty() && file.ends_with("/" + name)) return "; the nearest is '" + file + "'";
  }
  if (std::string near = nearest(path, files_); !near.empty()) return near;
  return nearest(path.ends_with('/') ? path.substr(0, path.size() - 1) : path, folders_);
}

bool Tree::code_contains(std::string_view text) const {
  return std::any_of(code_.begin(), code_.end(),
                     [&](const std::string& code) { return code.find(text) != std::string::npos; });
}

std::string without_comments(std::string_view code) {
  std::string kept;
  for (std::size_t at = 0; at < code.size();) {
    if (code.substr(at, 2) == "//") {
      at = std::min(code.find('\n', at), code.size());
    } else if (code.substr(at, 2) == "/*") {
      at = std::min(code.find("*/", at), code.size() - 2) + 2;
    } else if (code.substr(at, 3) == "R\"(") {  // texts without escapes
      const std::size_t end = std::min(code.find(")\"", at), code.size() - 2) + 2;
      kept += code.substr(at, end - at);
      at = end;
    } else if (code[at] == '"' || (code[at] == '\'' && (at == 0 || !std::isalnum(code[at - 1])))) {
      std::size_t end = at + 1;  // 1'000 is no text
      while (end < code.size() && code[end] != code[at] && code[end] != '\n') {
        end += code[end] == '\\' ? 2 : 1;
      }
      end = std::min(end + 1, code.size());
      kept += code.substr(at, end - at);
      at = end;
    } else {
      kept += code[at++];
    }
  }
  return kept;
}

}  // namespace memengine::prose
