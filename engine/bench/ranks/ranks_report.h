// What several ranks reached, as text for people and as JSON.
#pragma once

#include <string>

#include "engine/bench/results.h"

namespace memengine::bench {

// The head of the table, and the lines of a case: one for the case, one for its host memory where
// it has a table there, one for each purpose of exchanges. Without line ends at their end.
std::string ranks_head(int ranks);
std::string ranks_lines(const RanksResult& result);

std::string ranks_json(const RanksResult& result);  // an object

}  // namespace memengine::bench
