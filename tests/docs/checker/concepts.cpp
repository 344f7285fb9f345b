#include "tests/docs/checker/concepts.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/config/yaml_tree.h"
#include "kernels/runtime/error.h"
#include "tests/docs/checker/words.h"

namespace memengine::prose {
namespace {

constexpr const char* table = "docs/concepts.yaml";

std::string link_to(const std::string& path) {
  if (path.empty()) return "";
  return fmt::format("[{}](../{})", path.substr(path.rfind('/') + 1), path);
}

class Concept {
 public:
  Concept(const YamlNode& node, const Tree& tree, Faults& faults)
      : node_(node), tree_(tree), faults_(faults) {
    static const std::set<std::string> known = {"concept", "formula", "header", "cpu",
                                                "cuda",    "test",    "chapter"};
    for (const YamlEntry& entry : node.children) {
      if (!known.contains(entry.key))
        complain("no key '" + entry.key + "'" + nearest(entry.key, known));
    }
  }

  std::string row() {
    const std::string header = file("header", "");
    const std::string stem = header.substr(0, header.rfind('.'));
    const std::string cpu = file("cpu", stem + ".cpp"), cuda = file("cuda", stem + ".cu");
    const std::string test = file("test", "tests/" + stem + "_test.cpp");
    if (test.empty()) complain("'" + text("concept") + "' has no test");
    return fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", text("concept"), text("formula"),
                       link_to(header), link_to(cpu), link_to(cuda), link_to(test), chapter());
  }

 private:
  std::string text(const std::string& key) const {
    const YamlNode* value = node_.child(key);
    return value ? value->text : "";
  }
  void complain(const std::string& what) {
    const std::string line = node_.where.substr(node_.where.rfind(':') + 1);
    faults_.push_back({table, std::atoi(line.c_str()), what});
  }
  // What the concept names, which must be there; else `usual`, if it is there.
  std::string file(const std::string& key, const std::string& usual) {
    const std::string path = text(key);
    if (path.empty()) return tree_.files().contains(usual) ? usual : "";
    if (!tree_.files().contains(path)) {
      complain("there is no file '" + path + "'" + tree_.nearest_path(path));
    }
    return path;
  }
  // docs/course/02_product_keys.md of chapter 2, once it is there.
  std::string chapter() {
    const std::string number = text("chapter");
    if (number.empty()) return "";
    const std::string begin = fmt::format("docs/course/{:0>2}_", number);
    for (const std::string& path : tree_.files()) {
      if (path.starts_with(begin) && path.ends_with(".md")) {
        return fmt::format("[{}]({})", number, path.substr(5));
      }
    }
    return number;
  }

  const YamlNode& node_;
  const Tree& tree_;
  Faults& faults_;
};

}  // namespace

std::string make_index(const Tree& tree, Faults& faults) {
  std::string page =
      "# Index of concepts\n\n"
      "Made of [concepts.yaml](concepts.yaml) by `make docs`. The contract says shapes and "
      "sources, "
      "the CPU file is the reference beside the formula, the CUDA file computes the same faster; a "
      "chapter is one of the [course](course/README.md).\n\n"
      "| concept | formula | contract | CPU | CUDA | test | chapter |\n"
      "|---|---|---|---|---|---|---|\n";
  try {
    const YamlNode root = parse_yaml(read_text(tree.root() / table), table, {1 << 20, 20'000, 8});
    for (const YamlNode& node : root.items) page += Concept(node, tree, faults).row();
  } catch (const Error& error) {
    faults.push_back({table, 1, error.what()});
  }
  return page;
}

Faults check_index(const Tree& tree) {
  Faults faults;
  const std::vector<std::string> made = split_lines(make_index(tree, faults));
  const std::vector<std::string> there = split_lines(read_text(tree.root() / "docs/index.md"));
  const auto pair = std::mismatch(made.begin(), made.end(), there.begin(), there.end());
  if (pair.first != made.end() || pair.second != there.end()) {
    faults.push_back({"docs/index.md", static_cast<int>(pair.first - made.begin()) + 1,
                      "is not what docs/concepts.yaml gives: run make docs"});
  }
  return faults;
}

}  // namespace memengine::prose
