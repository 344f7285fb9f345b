// Python's string methods on UTF-8 text, as far as the evaluation rules use them.
//
// Scores must equal those of an evaluation harness written in Python, where len() counts characters
// and strip() and lower() know Unicode. Arguments must be valid UTF-8 (JSON input is checked to be;
// generated text goes through replace_invalid_utf8 first).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace memengine {

std::size_t python_length(std::string_view text);       // len(text): characters
std::string_view python_strip(std::string_view text);   // text.strip()
std::string_view python_rstrip(std::string_view text);  // text.rstrip()

// text.lower() and text.capitalize(), with Unicode's one-to-one mappings and the two that matter
// beyond them: capital I with dot, and sigma at the end of a word.
std::string python_lower(std::string_view text);
std::string python_capitalize(std::string_view text);

// text.replace(from, to): every occurrence from the left, none overlapping. `from` is not empty.
std::string python_replace(std::string_view text, std::string_view from, std::string_view to);

// repr() of a string: quoted and escaped as Python prints it in a list.
std::string python_repr(std::string_view text);

// repr() of a list of strings.
std::string python_repr(std::span<const std::string> texts);

// repr() of a float: the shortest digits that read back the same, with ".0" for whole numbers.
std::string python_repr(double value);

}  // namespace memengine
