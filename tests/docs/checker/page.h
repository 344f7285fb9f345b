// A page of prose as the checks see it: inline code, fenced blocks, links and headings, each with
// its line.
//
// As much of Markdown (CommonMark, GitHub's form) as these pages use: backtick spans on one line,
// fences of backticks, `[text](target)` links and images, `#` headings, HTML comments on a line of
// their own as marks of the block that follows.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace memengine::prose {

struct Fault {
  std::string page;  // path from the root
  int line = 0;
  std::string what;

  std::string text() const { return page + ":" + std::to_string(line) + ": " + what; }
};
using Faults = std::vector<Fault>;

struct Span {
  int line = 0;
  std::string text;
  std::string after = {};  // the rest of the line
};

struct Block {
  int line = 0;                    // of the first line within
  std::string language;            // first word after the fence
  std::vector<std::string> marks;  // "run", "file: x": the comments right above
  std::vector<std::string> lines;

  bool has_mark(const std::string& name) const;  // bare or with a value
  // The text after "name:" of a mark; "" where there is none.
  std::string mark_value(const std::string& name) const;
};

struct Page {
  std::string path;  // from the root
  std::vector<Span> code, links;
  std::vector<Block> blocks;
  std::set<std::string> anchors;  // of headings, as GitHub makes them, and of <a id="...">
};

// `path` is relative to `root`. Of CHANGELOG.md only the part "Unreleased" is read: what was true
// of an older version need not be of this one.
Page read_page(const std::filesystem::path& root, const std::string& path);
Page parse_page(const std::string& path, const std::string& text);

// README.md, CONTRIBUTING.md, CHANGELOG.md and every page below docs/.
std::vector<std::string> find_pages(const std::filesystem::path& root);

// "A look, at `x`" -> "a-look-at-x".
std::string heading_anchor(const std::string& heading);

}  // namespace memengine::prose
