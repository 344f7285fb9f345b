// Fenced blocks: commands parse, YAML is read by the config reader, quoted code and diffs agree
// with the files, and README's tree with the folders.
#pragma once

#include "tests/docs/checker/keys.h"
#include "tests/docs/checker/page.h"
#include "tests/docs/checker/tree.h"

namespace memengine::prose {

//   sh, console    calls of memengine, make, cmake, ctest; paths that begin with a room
//   yaml           as engine/config reads it
//   diff           a hunk's lines of context and those added stand in the file in one piece; with
//                  the mark "to apply" those of context and those removed, at one place
//   any            with the mark "from: PATH": every line stands there, in this order; `...` passes
//                  over some
Faults check_blocks(const Page& page, const Tree& tree, const Keys& keys);

// The tree in README, the first block whose first line begins with a room: every folder that it
// names is there, and every folder two levels deep is named.
Faults check_tree_block(const Page& readme, const Tree& tree);

}  // namespace memengine::prose
