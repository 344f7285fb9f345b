// What is said about a key that no config has: the known one that was meant, if there is one, or
// what the section has.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>

namespace memengine {

using KeySet = std::set<std::string, std::less<>>;  // dotted keys; items of lists as `a[0].b`

// Whether somebody may have meant the one name and written the other: they differ in at most two
// letters of five, or in two of a short one.
bool is_alike(std::string_view a, std::string_view b);

// Whether a known key stands below `key`.
bool is_section(const KeySet& known, const std::string& key);

// Throws the input error. It names the nearest key of both sets, by the whole path, or by its last
// part where the user has the wrong section; never one whose last part differs in more than two
// letters of five, which nobody meant.
[[noreturn]] void fail_unknown_key(const std::string& where, const std::string& key,
                                   const KeySet& known, const KeySet& ignored);

}  // namespace memengine
