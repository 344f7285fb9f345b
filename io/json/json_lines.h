// One string out of one line of JSON, fast, by simdjson.
//
// simdjson checks the whole line (UTF-8, RFC 8259) with vector instructions: 2.47 GB/s on
// 129 MB of novels as JSON lines, where a scanner of our own that went byte by byte made 1.09 (one
// core with AVX-512, simdjson 3.0.1). Its ways that are not ours are mended here: it refuses a
// surrogate without its partner, and numbers beyond its range, which are JSON all the same, and
// Python's words for what is no number.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace memengine {

// Overwrites `text` with the string that the object in `line` has under the first of `fields` it
// has at all. "a.b" is the key of that name, or else `b` of the object that `a` is. Returns an
// empty string, or what is wrong with the line: not valid UTF-8, not one JSON object (RFC 8259, and
// Python's NaN, Infinity and -Infinity), none of the fields, a field that is not a string. Escapes
// are decoded; a surrogate without its partner becomes U+FFFD. Of repeated keys the last counts, as
// in Python.
// Safe from many threads.
std::string read_json_field(std::string_view line, const std::vector<std::string>& fields,
                            std::string& text);

}  // namespace memengine
