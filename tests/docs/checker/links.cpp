#include "tests/docs/checker/links.h"

#include <map>

#include "tests/docs/checker/words.h"

namespace memengine::prose {
namespace {

struct Target {
  std::string path, anchor;  // path "": the page itself
};

bool is_local(const std::string& link) {
  return link.find("://") == std::string::npos && !link.starts_with("mailto:") && !link.empty();
}

Target resolve(const std::string& page, const std::string& link) {
  const std::size_t hash = link.find('#');
  Target target;
  target.anchor = hash == std::string::npos ? "" : link.substr(hash + 1);
  const std::string path = link.substr(0, hash);
  const std::filesystem::path folder = std::filesystem::path(page).parent_path();
  target.path = path.empty() ? page : (folder / path).lexically_normal().generic_string();
  return target;
}

}  // namespace

Faults check_links(const Page& page, const Tree& tree) {
  Faults faults;
  for (const Span& link : page.links) {
    if (!is_local(link.text)) continue;
    const Target target = resolve(page.path, link.text);
    if (!tree.has_path(target.path)) {
      faults.push_back(
          {page.path, link.line,
           "the link '" + link.text + "' leads nowhere" + tree.nearest_path(target.path)});
      continue;
    }
    if (target.anchor.empty() || !target.path.ends_with(".md")) continue;
    const Page other = parse_page(target.path, read_text(tree.root() / target.path));
    if (!other.anchors.contains(target.anchor)) {
      faults.push_back({page.path, link.line,
                        target.path + " has no heading '#" + target.anchor + "'" +
                            nearest(target.anchor, other.anchors)});
    }
  }
  return faults;
}

Faults find_unreachable(const std::vector<Page>& pages) {
  std::map<std::string, const Page*> waiting;
  for (const Page& page : pages) waiting[page.path] = &page;
  std::vector<const Page*> reached;
  const auto reach = [&](const std::string& path) {
    const auto found = waiting.find(path);
    if (found == waiting.end()) return;
    reached.push_back(found->second);
    waiting.erase(found);
  };
  reach("README.md");
  for (std::size_t i = 0; i < reached.size(); ++i) {
    for (const Span& link : reached[i]->links) {
      if (is_local(link.text)) reach(resolve(reached[i]->path, link.text).path);
    }
  }
  Faults faults;
  for (const auto& [path, page] : waiting) {
    if (path.starts_with("docs/")) {
      faults.push_back({path, 1, "no chain of links from README.md leads here"});
    }
  }
  return faults;
}

}  // namespace memengine::prose
