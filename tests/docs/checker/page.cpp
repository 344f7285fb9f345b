#include "tests/docs/checker/page.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/docs/checker/words.h"

namespace memengine::prose {
namespace {

// The spans of one line, which are then blanked so that no link is seen within.
void take_code(std::string& line, int number, std::vector<Span>& spans) {
  std::size_t at = 0;
  while ((at = line.find('`', at)) != std::string::npos) {
    const std::size_t ticks = std::min(line.find_first_not_of('`', at), line.size()) - at;
    const std::string fence(ticks, '`');
    std::size_t end = at + ticks;
    do {
      end = line.find(fence, end);
      if (end == std::string::npos) return;
      const std::size_t run = std::min(line.find_first_not_of('`', end), line.size()) - end;
      if (run == ticks) break;
      end += run;
    } while (true);
    std::string text = line.substr(at + ticks, end - at - ticks);
    if (ticks > 1) text = trimmed(text);
    for (std::size_t bar; (bar = text.find("\\|")) != std::string::npos;) text.erase(bar, 1);
    if (!text.empty()) spans.push_back({number, text, line.substr(end + ticks)});
    std::fill(line.begin() + static_cast<std::ptrdiff_t>(at),
              line.begin() + static_cast<std::ptrdiff_t>(end + ticks), ' ');
    at = end + ticks;
  }
}

void take_links(const std::string& line, int number, std::vector<Span>& links) {
  for (std::size_t at = 0; (at = line.find("](", at)) != std::string::npos;) {
    at += 2;
    const std::size_t end = line.find_first_of(") ", at);
    if (end == std::string::npos) return;
    links.push_back({number, line.substr(at, end - at)});
  }
  for (const std::string name : {"src=\"", "srcset=\"", "href=\""}) {
    for (std::size_t at = 0; (at = line.find(name, at)) != std::string::npos;) {
      at += name.size();
      links.push_back({number, line.substr(at, line.find('"', at) - at)});
    }
  }
}

void take_heading(const std::string& line, std::map<std::string, int>& seen, Page& page) {
  if (const std::size_t at = line.find("<a id=\""); at != std::string::npos) {
    page.anchors.insert(line.substr(at + 7, line.find('"', at + 7) - at - 7));
  }
  const std::size_t marks = line.find_first_not_of('#');
  if (marks == 0 || marks == std::string::npos || marks > 6 || line[marks] != ' ') return;
  const std::string anchor = heading_anchor(trimmed(line.substr(marks)));
  const int times = seen[anchor]++;
  page.anchors.insert(times == 0 ? anchor : anchor + "-" + std::to_string(times));
}

}  // namespace

bool Block::has_mark(const std::string& name) const {
  return std::any_of(marks.begin(), marks.end(), [&](const std::string& mark) {
    return mark == name || mark.starts_with(name + ":");
  });
}

std::string Block::mark_value(const std::string& name) const {
  for (const std::string& mark : marks) {
    if (mark.starts_with(name + ":")) return trimmed(mark.substr(name.size() + 1));
  }
  return "";
}

std::string heading_anchor(const std::string& heading) {
  std::string anchor;
  for (const char letter : heading) {
    const auto byte = static_cast<unsigned char>(letter);
    if (letter == ' ') {
      anchor += '-';
    } else if (byte >= 0x80 || letter == '-' || letter == '_' || std::isalnum(byte)) {
      anchor += static_cast<char>(byte < 0x80 ? std::tolower(byte) : byte);
    }
  }
  return anchor;
}

Page parse_page(const std::string& path, const std::string& text) {
  Page page;
  page.path = path;
  std::istringstream stream(text);
  std::string line, fence;
  std::vector<std::string> marks;
  std::map<std::string, int> seen;
  for (int number = 1; std::getline(stream, line); ++number) {
    const std::size_t indent = std::min(line.find_first_not_of(' '), line.size());
    if (!fence.empty()) {
      if (line.compare(indent, fence.size(), fence) == 0) {
        fence.clear();
      } else {
        page.blocks.back().lines.push_back(line);
      }
      continue;
    }
    if (line.compare(indent, 3, "```") == 0) {
      const std::size_t after = std::min(line.find_first_not_of('`', indent), line.size());
      fence = line.substr(indent, after - indent);
      const std::vector<std::string> info = split_words(line.substr(after));
      page.blocks.push_back({number + 1, info.empty() ? "" : info.front(), marks, {}});
      marks.clear();
      continue;
    }
    const std::string whole = trimmed(line);
    if (whole.starts_with("<!--") && whole.ends_with("-->")) {
      marks.push_back(trimmed(whole.substr(4, whole.size() - 7)));
      continue;
    }
    if (!whole.empty()) marks.clear();
    take_heading(line, seen, page);
    take_code(line, number, page.code);
    take_links(line, number, page.links);
  }
  return page;
}

Page read_page(const std::filesystem::path& root, const std::string& path) {
  std::string text = read_text(root / path);
  if (path == "CHANGELOG.md") {
    // Older parts become empty lines at the end, so that line numbers stay.
    const std::size_t current = text.find("\n## ");
    const std::size_t older =
        current == std::string::npos ? current : text.find("\n## ", current + 1);
    if (older != std::string::npos) text.resize(older + 1);
  }
  return parse_page(path, text);
}

std::vector<std::string> find_pages(const std::filesystem::path& root) {
  std::vector<std::string> pages = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"};
  std::vector<std::string> below;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root / "docs")) {
    if (entry.path().extension() == ".md") {
      below.push_back(entry.path().lexically_relative(root).generic_string());
    }
  }
  std::sort(below.begin(), below.end());
  pages.insert(pages.end(), below.begin(), below.end());
  return pages;
}

}  // namespace memengine::prose
