// Rows of a host table that stay in GPU memory from one update to the next.
//
// A step knows which rows it will update as soon as it has looked them up, long before it has their
// gradients; and much of what a step updates, the next step looks up again. So the rows of the last
// step stay where they were updated. The next step's lookups read them there, without waiting for
// anything. Once its picks are known, the area is brought up to date while the GPU computes
// something else: rows that the step will update again stay; the others go back to the table, and
// at the same time, over the link's other direction, the rows that are new come from there into
// places that were free. Rows for which there is no room are updated in the table.
//
//     step t     | lookups: read the area and the table | exchange: go, stay, come | update, there
//     step t + 1 |                                      | exchange ...
//
// While a row is in the area, only its copy there is read and written; the table's is old until the
// row goes back, or store_rows() is called.
#pragma once

#include <algorithm>

#include "engine/runtime/context.h"
#include "kernels/value_rows.h"

namespace memengine {

// An area for S rows. The caller owns the memory; empty_staging() makes it ready.
struct StagedRows {
  ValueRows values;  // S places
  Tensor rows;       // [S] i32: the rows in the area, ascending
  Tensor places;     // [S] i32: row rows[i] is at places[i]; behind the rows' places, the free ones
  Tensor count;      // [1] i32: how many rows are in the area
  // [L] i32, for lists of up to L rows: listed[i] is where in the step's list rows[i] is; behind
  // those, the places in the list of the rows that are not in the area.
  Tensor listed;

  std::int64_t capacity() const { return values.rows; }  // S; 0: no area
};

// No rows, all places free.
void empty_staging(const Context& context, const StagedRows& staged);

// newer [L] i32, u < unique.count: the place of row unique.rows[u], -1 where it is not in the area.
// For the lookups (NewerRows in value_rows.h).
void find_staged(const Context& context, Tensor newer, const StagedRows& staged,
                 const UniqueRows& unique);

// Rows of the area that are not among `unique` go back to the table, with their records; those of
// `unique` that are not in the area come, until the list ends or the area is full. In a small area
// this takes a second round, which fills the places that the first one has left. The layouts of
// area and table are the same; staged.listed holds unique.capacity() numbers.
void exchange_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                   const UniqueRows& unique);
std::int64_t exchange_rows_scratch_bytes(Device device, std::int64_t places, std::int64_t listed);

// Writes all rows of the area to the table; they stay in the area too.
void store_rows(const Context& context, const ValueRows& table, const StagedRows& staged);

// 1 where any two lists of up to `listed` rows find room in the area, else 2.
inline int exchange_rounds(const StagedRows& staged, const ValueRows& table, std::int64_t listed) {
  return staged.capacity() >= std::min(2 * listed, table.rows) ? 1 : 2;
}

namespace cuda {
decltype(memengine::empty_staging) empty_staging;
decltype(memengine::find_staged) find_staged;
decltype(memengine::exchange_rows) exchange_rows;
std::int64_t exchange_rows_scratch_bytes(std::int64_t places, std::int64_t listed);
decltype(memengine::store_rows) store_rows;
}  // namespace cuda

}  // namespace memengine
