#include "tests/docs/checker/blocks.h"

#include <algorithm>
#include <regex>

#include "tests/docs/checker/calls.h"
#include "tests/docs/checker/words.h"

namespace memengine::prose {
namespace {

void check_commands(const Page& page, const Block& block, const Tree& tree, const Keys& keys,
                    Faults& faults) {
  for (const Span& span : block_commands(block)) {
    for (const std::vector<std::string>& command : shell_commands(span.text)) {
      std::string found = build_tool_complaint(command, tree);
      const std::string* program = find_program(command);
      if (program && found.empty()) {
        const std::ptrdiff_t first = program - command.data() + 1;
        found = call_complaint({command.begin() + first, command.end()}, false, keys, tree);
      }
      for (const std::string& word : command) {
        const std::size_t slash = word.find('/');
        if (!found.empty() || slash == std::string::npos) continue;
        if (tree.is_room(word.substr(0, slash)) && !tree.has_path(word)) {
          found = "there is no file '" + word + "'" + tree.nearest_path(word);
        }
      }
      if (!found.empty()) faults.push_back({page.path, span.line, found});
    }
  }
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// The first line that does not stand in the file after the ones before, or -1.
int first_missing(const std::vector<std::string>& quoted, const std::vector<std::string>& file) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < quoted.size(); ++i) {
    const std::string line = trimmed(quoted[i]);
    if (line.empty() || line == "..." || line == "// ...") continue;
    while (at < file.size() && trimmed(file[at]) != line) ++at;
    if (at == file.size()) return static_cast<int>(i);
    ++at;
  }
  return -1;
}

void check_quote(const Page& page, const Block& block, const std::string& path, const Tree& tree,
                 Faults& faults) {
  if (!tree.files().contains(path)) {
    faults.push_back(
        {page.path, block.line - 2, "there is no file '" + path + "'" + tree.nearest_path(path)});
    return;
  }
  const std::vector<std::string> file = split_lines(read_text(tree.root() / path));
  if (const int at = first_missing(block.lines, file); at >= 0) {
    faults.push_back({page.path, block.line + at,
                      path + " does not have this line, or not in this place: " +
                          trimmed(block.lines[static_cast<std::size_t>(at)])});
  }
}

// How many of the lines stand in the file from `at` on, one after another.
std::size_t standing(const std::vector<std::string>& lines, const std::vector<std::string>& file,
                     std::size_t at) {
  std::size_t count = 0;
  while (count < lines.size() && at + count < file.size() &&
         trimmed(lines[count]) == trimmed(file[at + count])) {
    ++count;
  }
  return count;
}

// The lines of one hunk that the file has, or had before: they stand there in one piece, and a hunk
// that is still to be applied has one place.
struct Hunk {
  std::vector<std::string> lines;
  std::vector<int> numbers;  // on the page
  int first = 0;

  void check(const Page& page, const std::string& path, const std::vector<std::string>& file,
             bool to_apply, Faults& faults) const {
    if (lines.empty()) {
      if (to_apply) {
        faults.push_back({page.path, first, "a hunk without context: nobody can tell its place"});
      }
      return;
    }
    std::size_t best = 0, places = 0;
    for (std::size_t at = 0; at < file.size(); ++at) {
      const std::size_t here = standing(lines, file, at);
      best = std::max(best, here);
      places += here == lines.size() ? 1 : 0;
    }
    if (best < lines.size()) {
      faults.push_back({page.path, numbers[best],
                        path + " does not have this line" +
                            (best > 0 ? " after the one before" : "") + ": " +
                            trimmed(lines[best])});
    } else if (to_apply && places > 1) {
      faults.push_back({page.path, numbers.front(),
                        "the lines of this hunk stand in " + path + " " + std::to_string(places) +
                            " times: it needs more context"});
    }
  }
};

void check_diff(const Page& page, const Block& block, const Tree& tree, Faults& faults) {
  const bool to_apply = block.has_mark("to apply");
  std::string path;
  std::vector<std::string> file;
  Hunk hunk;
  bool in_hunk = false;
  const auto end_hunk = [&] {
    if (in_hunk && !path.empty()) hunk.check(page, path, file, to_apply, faults);
    hunk = {};
    in_hunk = false;
  };
  for (std::size_t i = 0; i < block.lines.size(); ++i) {
    const std::string& line = block.lines[i];
    const int number = block.line + static_cast<int>(i);
    if (line.starts_with("diff ") || line.starts_with("index ") || line.starts_with("--- ") ||
        line.starts_with("new file")) {
      end_hunk();
      path.clear();
    } else if (line.starts_with("+++ ")) {
      path = trimmed(line.substr(4));
      if (path.starts_with("b/")) path = path.substr(2);
      file = split_lines(read_text(tree.root() / path));
      const bool made = i > 0 && block.lines[i - 1].starts_with("--- /dev/null");
      if (to_apply && made) {
        path.clear();  // it makes this file
      } else if (!tree.files().contains(path)) {
        faults.push_back(
            {page.path, number, "there is no file '" + path + "'" + tree.nearest_path(path)});
        path.clear();
      }
    } else if (line.starts_with("@@")) {
      end_hunk();
      in_hunk = true;
      hunk.first = number;
    } else if (line.empty() || line[0] == ' ' || line[0] == (to_apply ? '-' : '+')) {
      hunk.lines.push_back(line.empty() ? "" : line.substr(1));
      hunk.numbers.push_back(number);
    }
  }
  end_hunk();
}

}  // namespace

Faults check_blocks(const Page& page, const Tree& tree, const Keys& keys) {
  Faults faults;
  for (const Block& block : page.blocks) {
    if (block.language == "diff") {
      check_diff(page, block, tree, faults);
    } else if (block.language == "yaml") {
      if (const std::string found = yaml_complaint(joined(block.lines), tree.root());
          !found.empty()) {
        faults.push_back({page.path, block.line, found});
      }
    } else {
      check_commands(page, block, tree, keys, faults);
    }
    if (const std::string path = block.mark_value("from"); !path.empty()) {
      check_quote(page, block, path, tree, faults);
    }
  }
  return faults;
}

Faults check_tree_block(const Page& readme, const Tree& tree) {
  const auto is_tree = [&](const Block& block) {
    if (block.lines.empty() || !block.language.empty()) return false;
    const std::string first = block.lines.front().substr(0, block.lines.front().find('/'));
    return tree.is_room(first) && block.lines.front().find('/') != std::string::npos;
  };
  const auto block = std::find_if(readme.blocks.begin(), readme.blocks.end(), is_tree);
  if (block == readme.blocks.end()) return {{readme.path, 1, "there is no block with the tree"}};
  static const std::regex folder(R"((^|[ (])([a-z_.][a-z_/]*)/(?=$|[ ,;:)]))");
  Faults faults;
  std::set<std::string> named;
  std::string room;
  for (std::size_t i = 0; i < block->lines.size(); ++i) {
    const std::string& line = block->lines[i];
    std::string inner;
    for (std::sregex_iterator at(line.begin(), line.end(), folder), end; at != end; ++at) {
      const std::string name = (*at)[2];
      const std::string above = inner.substr(0, std::min(inner.rfind('/'), inner.size()));
      const std::string places[] = {inner + "/" + name, above + "/" + name, room + "/" + name,
                                    name};
      if (at->position() == 0 && line[0] != ' ') room = name;
      const auto place = std::find_if(std::begin(places), std::end(places), [&](const auto& one) {
        return tree.folders().contains(one);
      });
      if (place == std::end(places)) {
        faults.push_back(
            {readme.path, block->line + static_cast<int>(i),
             "there is no folder '" + name + "'" + nearest(room + "/" + name, tree.folders())});
        continue;
      }
      named.insert(*place);
      inner = *place;
    }
  }
  for (const std::string& path : tree.folders()) {
    if (path.starts_with("tests/") || path.starts_with("docs/") || path.starts_with("configs/"))
      continue;
    const auto deep = std::count(path.begin(), path.end(), '/');
    if (path != ".ci" && path != "docs" && path != "configs" && deep <= 1 &&
        !named.contains(path)) {
      faults.push_back(
          {readme.path, block->line, "the tree does not have the folder '" + path + "'"});
    }
  }
  return faults;
}

}  // namespace memengine::prose
