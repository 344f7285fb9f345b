// Small things about texts that the checks share.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace memengine::prose {

std::string read_text(const std::filesystem::path& path);
std::vector<std::string> split_lines(std::string_view text);
// At white space.
std::vector<std::string> split_words(std::string_view text);
std::string trimmed(std::string_view text);

// Letters, digits and '_', not beginning with a digit; with its place in the text.
struct Identifier {
  std::string name;
  std::size_t at = 0;
};
std::vector<Identifier> identifiers(std::string_view text);

// "; the nearest is 'x'" of the candidate that differs least, or "" where none is alike.
std::string nearest(std::string_view name, const std::set<std::string>& candidates);

// `a{b, c}d` -> abd, acd; `*` and `<x>` match any text but '/'.
std::vector<std::string> expand_braces(const std::string& text);
bool matches(std::string_view pattern, std::string_view name);

}  // namespace memengine::prose
