// check_docs [--root FOLDER] [--run PROGRAM] [--write-index] [PAGE...]
//
// Whether README.md, CONTRIBUTING.md, the current part of CHANGELOG.md and docs/**/*.md say what is
// so: without --run what they name, with it what their marked blocks print. One line for each
// fault; exit code 1 where there is one.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/docs/checker/blocks.h"
#include "tests/docs/checker/concepts.h"
#include "tests/docs/checker/links.h"
#include "tests/docs/checker/names.h"
#include "tests/docs/checker/printed.h"

namespace memengine::prose {
namespace {

void add(Faults& faults, Faults more) {
  faults.insert(faults.end(), more.begin(), more.end());
}

Faults check(const std::filesystem::path& root, const std::vector<std::string>& paths, bool all) {
  const Tree tree(root);
  const Keys keys;
  ForeignNames foreign(root / "tests/docs/foreign_names.txt");
  std::vector<Page> pages;
  Faults faults;
  for (const std::string& path : paths) pages.push_back(read_page(root, path));
  for (const Page& page : pages) {
    add(faults, check_names(page, tree, keys, foreign));
    add(faults, check_blocks(page, tree, keys));
    add(faults, check_links(page, tree));
    if (page.path == "README.md") add(faults, check_tree_block(page, tree));
  }
  if (all) {
    add(faults, find_unreachable(pages));
    add(faults, foreign.unused());
    add(faults, check_index(tree));
  }
  return faults;
}

void write_index(const std::filesystem::path& root) {
  Faults ignored;  // the check tells them
  const std::string text = make_index(Tree(root), ignored);
  std::ofstream(root / "docs/index.md", std::ios::binary) << text;
}

int check_docs(const std::vector<std::string>& arguments) {
  std::filesystem::path root = ".", program;
  std::vector<std::string> paths;
  bool writes_index = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--root" && i + 1 < arguments.size()) {
      root = arguments[++i];
    } else if (arguments[i] == "--run" && i + 1 < arguments.size()) {
      program = std::filesystem::absolute(arguments[++i]);
    } else if (arguments[i] == "--write-index") {
      writes_index = true;
    } else {
      paths.push_back(arguments[i]);
    }
  }
  root = std::filesystem::absolute(root).lexically_normal();
  if (writes_index) write_index(root);
  const bool all = paths.empty();
  if (all) paths = find_pages(root);
  Faults faults;
  if (program.empty()) {
    faults = check(root, paths, all);
  } else {
    for (const std::string& path : paths)
      add(faults, check_printed(read_page(root, path), root, program));
  }
  for (const Fault& fault : faults) std::printf("%s\n", fault.text().c_str());
  std::printf("%zu pages, %zu faults\n", paths.size(), faults.size());
  return faults.empty() ? 0 : 1;
}

}  // namespace
}  // namespace memengine::prose

int main(int argument_count, char** arguments) {
  return memengine::prose::check_docs({arguments + 1, arguments + argument_count});
}
