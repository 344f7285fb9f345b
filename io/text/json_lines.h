// One string out of one line of JSON, fast: a strict checker that copies only the wanted field.
//
// Building a tree of every object would cost more than tokenizing it. The checker walks the line
// once, skips values it does not want, and decodes the wanted string in runs between escapes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memengine {

// Overwrites `text` with the string that the object in `line` has under the first of `fields` it
// has at all. Returns an empty string, or what is wrong with the line: not valid UTF-8, not one
// JSON object (RFC 8259), none of the fields, a field that is not a string. Escapes are decoded; a
// surrogate without its partner becomes U+FFFD. Of repeated keys the last counts, as in Python.
std::string read_json_field(std::string_view line, const std::vector<std::string>& fields,
                            std::string& text);

}  // namespace memengine
