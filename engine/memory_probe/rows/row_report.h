// All that is known of some rows of a table: who reads them, when they were last updated, what they
// say.
#pragma once

#include <vector>

#include "engine/memory_probe/probe_json.h"

namespace memengine {

// Rows of the table that memory `table_of` reads. Without `next` no corpus is read: no readers, and
// the read-out does without a gate. `keep` contexts and tokens of each.
std::vector<RowReport> report_rows(ProbeModel& model, const std::vector<std::int64_t>& rows,
                                   std::size_t table_of, const NextPass& next, std::size_t keep);

}  // namespace memengine
