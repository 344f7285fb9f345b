#include "tests/docs/checker/words.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>

#include "io/config/yaml_values.h"

namespace memengine::prose {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (const char letter : text) {
    if (!std::isspace(static_cast<unsigned char>(letter))) {
      word += letter;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1));
}

std::vector<Identifier> identifiers(std::string_view text) {
  std::vector<Identifier> found;
  const auto part = [](char letter) {
    return letter == '_' || std::isalnum(static_cast<unsigned char>(letter)) != 0;
  };
  for (std::size_t at = 0; at < text.size();) {
    if (!part(text[at])) {
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < text.size() && part(text[end])) ++end;
    if (std::isdigit(static_cast<unsigned char>(text[at])) == 0) {
      found.push_back({std::string(text.substr(at, end - at)), at});
    }
    at = end;
  }
  return found;
}

std::string nearest(std::string_view name, const std::set<std::string>& candidates) {
  const std::string* best = nullptr;
  std::size_t least = std::max<std::size_t>(2, name.size() / 2) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t longer = std::max(candidate.size(), name.size());
    if (longer - std::min(candidate.size(), name.size()) >= least) continue;
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < least) {
      least = distance;
      best = &candidate;
    }
  }
  return best ? "; the nearest is '" + *best + "'" : "";
}

std::vector<std::string> expand_braces(const std::string& text) {
  const std::size_t open = text.find('{');
  const std::size_t close = text.find('}', open == std::string::npos ? 0 : open);
  if (open == std::string::npos || close == std::string::npos) return {text};
  std::vector<std::string> all;
  for (std::size_t at = open + 1; at <= close;) {
    const std::size_t end = std::min(text.find(',', at), close);
    const std::string middle = trimmed(text.substr(at, end - at));
    for (const std::string& rest : expand_braces(text.substr(close + 1))) {
      all.push_back(text.substr(0, open) + middle + rest);
    }
    at = end + 1;
  }
  return all;
}

bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  std::size_t skip = 0;
  if (pattern.front() == '*') skip = 1;
  if (pattern.front() == '<' && pattern.find('>') != std::string_view::npos) {
    skip = pattern.find('>') + 1;
  }
  if (skip == 0) {
    return !name.empty() && pattern.front() == name.front() &&
           matches(pattern.substr(1), name.substr(1));
  }
  for (std::size_t taken = 0; taken <= name.size(); ++taken) {
    if (matches(pattern.substr(skip), name.substr(taken))) return true;
    if (taken < name.size() && name[taken] == '/') return false;
  }
  return false;
}

}  // namespace memengine::prose
