// Local links: the file is there, and the heading that an anchor names.
#pragma once

#include "tests/docs/checker/page.h"
#include "tests/docs/checker/tree.h"

namespace memengine::prose {

Faults check_links(const Page& page, const Tree& tree);

// Pages below docs/ that no chain of links from README reaches.
Faults find_unreachable(const std::vector<Page>& pages);

}  // namespace memengine::prose
