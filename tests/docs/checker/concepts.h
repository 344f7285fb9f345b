// docs/index.md, made of docs/concepts.yaml: concept, formula, files, test, chapter.
#pragma once

#include <string>

#include "tests/docs/checker/page.h"
#include "tests/docs/checker/tree.h"

namespace memengine::prose {

// The page's text. Files that a concept names and that are not there become faults.
std::string make_index(const Tree& tree, Faults& faults);

// A fault at the first line in which the page is not what make_index() gives.
Faults check_index(const Tree& tree);

}  // namespace memengine::prose
