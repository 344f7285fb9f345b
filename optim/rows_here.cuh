// Which rows of a step stand where: some of them in the staging area, the others in the table
// itself. What updates rows runs once for each of the two.
#pragma once

#include <cstdint>

#include "kernels/table/deduplicate.h"
#include "kernels/table/staged_rows/staged_rows.h"
#include "kernels/table/value_rows.h"

namespace memengine::cuda {

// The rows of a step that are updated in one table: i in [*first, *end), or from 0 without `first`,
// is row rows[u] of the step's list, with u = listed[i], or i without `listed`; it stands at
// places[i] of the table, or at its own number without `places`.
struct RowsHere {
  const std::int32_t* first;
  const std::int32_t* end;
  const std::int32_t* listed;
  const std::int32_t* rows;
  const std::int32_t* places;
};

// Calls launch(home, rows here) for every table in which rows of the step stand; without a staging
// area that is the table alone.
template <typename Launch>
void for_each_home(const ValueRows& table, const StagedRows& staged, const UniqueRows& unique,
                   const Launch& launch) {
  const auto* rows = unique.rows.as<std::int32_t>();
  const auto* count = unique.count.as<std::int32_t>();
  if (staged.capacity() == 0) {
    launch(table, {nullptr, count, nullptr, rows, nullptr});
    return;
  }
  const auto* in_area = staged.count.as<std::int32_t>();
  const auto* listed = staged.listed.as<std::int32_t>();
  launch(staged.values, {nullptr, in_area, listed, rows, staged.placed.as<std::int32_t>()});
  launch(table, {in_area, count, listed, rows, nullptr});
}

}  // namespace memengine::cuda
