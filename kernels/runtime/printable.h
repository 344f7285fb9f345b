// Text from anywhere - file names, contents of files, arguments, a library's words - made safe to
// show. A terminal obeys control characters, so whoever writes a file that is shown could move the
// cursor, recolour or rename the window; a line break in a name makes one message look like two.
//
// What is replaced: control characters (C0, DEL, C1), line and paragraph separators, marks that
// change the direction of writing, and bytes that are no UTF-8. Each is written as an escape
// (\n, \x1b, \u202e), so that it can be seen what is there. All else stays as it is.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace memengine {

// One line, whatever was in the text.
std::string printable(std::string_view text);

// The same of several lines: line feeds and tabs stay.
std::string printable_lines(std::string_view text);

// For texts that a model makes, on a terminal: without control characters, but for line feeds and
// tabs; nothing is put in their place. Bytes that are no UTF-8 become U+FFFD.
std::string without_controls(std::string_view text);

}  // namespace memengine
