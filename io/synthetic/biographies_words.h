// The words that synthetic biographies are made of, and their sentence templates.
//
// All of it is plain ASCII. Two-part words (surnames, towns) are a front and a back joined without
// a space. No value contains a full stop.
#pragma once

#include <array>
#include <span>
#include <string_view>

namespace memengine::biography_words {

std::span<const std::string_view> first_names();
std::span<const std::string_view> middle_names();
std::span<const std::string_view> surname_fronts();
std::span<const std::string_view> surname_backs();

std::span<const std::string_view> months();
std::span<const std::string_view> cities();
std::span<const std::string_view> university_towns();     // "Alder" -> "Alder University", ...
std::span<const std::string_view> university_patterns();  // "@ University"; @ is the town
std::span<const std::string_view> majors();
std::span<const std::string_view> employer_names();
std::span<const std::string_view> employer_kinds();  // "Meridian" + " " + "Robotics"

inline constexpr int templates_per_attribute = 5;

// Sentence fronts: "<name><front> <value>."; [attribute][template].
std::span<const std::array<std::string_view, templates_per_attribute>, 6> sentence_fronts();

}  // namespace memengine::biography_words
