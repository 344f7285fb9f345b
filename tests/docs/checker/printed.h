// Blocks marked `<!-- run -->`: their commands are run, and what they print is what the page shows.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/docs/checker/page.h"

namespace memengine::prose {

// All such blocks of a page in one fresh folder, in order, with `./memengine` the program, `build`
// its folder, and configs, docs and tests the repository's; blocks marked `<!-- file: NAME -->` are
// written there first. Two threads, no GPU. A command must end with 0, the last of a block with
// what `<!-- run: exit 2 -->` says.
Faults check_printed(const Page& page, const std::filesystem::path& root,
                     const std::filesystem::path& program);

// Whether a command printed what the page shows: a line `...` stands for any lines, `...` in a line
// for any text, and numbers before a unit of time or speed (s, ms, tok/s, MB/s) for any number.
// Returns the index of the first line shown that was not printed (the number of lines where more
// was printed), or -1.
int first_difference(const std::vector<std::string>& shown,
                     const std::vector<std::string>& printed);

}  // namespace memengine::prose
