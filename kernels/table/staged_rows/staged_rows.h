// Rows of a host table that stay in GPU memory from one update to the next.
//
// A step knows which rows it will update as soon as it has looked them up, long before it has their
// gradients; and much of what a step updates, the next step looks up again. So the rows of the last
// step stay where they were updated. The next step's lookups read them there, without waiting for
// anything. Once its picks are known, the area is brought up to date while the GPU computes
// something else: rows that the step will update again stay; the others go back to the table, and
// the rows that are new come from there into the places that they leave. Row by row one goes as one
// comes, so that both directions of the link are busy. Rows for which there is no room are updated
// in the table.
//
//     step t     | lookups: read the area and the table | exchange: go, stay, come | update, there
//     step t + 1 |                                      | exchange ...
//
// While a row is in the area, only its copy there is read and written; the table's is old until the
// row goes back, or store_rows() is called.
#pragma once

#include "kernels/runtime/context.h"
#include "kernels/table/value_rows.h"

namespace memengine {

// An area for S rows, for lists of up to L. The caller owns the memory; empty_staging() makes it
// ready.
struct StagedRows {
  ValueRows values;  // S places
  Tensor rows;       // [S] i32: the rows in the area, ascending
  Tensor places;     // [S] i32: row rows[i] is at places[i]; after the rows' places, the free ones
  Tensor count;      // [1] i32: how many rows are in the area
  // [L] i32: listed[i] is where in the step's list rows[i] is; after those, the places in the list
  // of the rows that are not in the area.
  Tensor listed;
  // What is left to copy of an exchange: the i-th row that goes leaves its place to the i-th that
  // comes, if there are that many.
  Tensor coming;  // [2, S] i32: rows that come, ascending, and their places
  Tensor going;   // [2, S] i32: rows that go, ascending, and their places
  Tensor moves;   // [3] i32: how many come, how many go, the next part that nobody has taken

  std::int64_t capacity() const { return values.rows; }  // S; 0: no area
};

// Bytes of the area for each of its rows, and for each row of a list.
inline std::int64_t staged_row_bytes(const RecordLayout& layout) {
  return 2 * layout.v_dim + layout.bytes() + (2 + 4) * 4;
}
inline constexpr std::int64_t staged_list_bytes = 4;

// No rows, all places free.
void empty_staging(const Context& context, const StagedRows& staged);

// newer [L] i32, u < unique.count: the place of row unique.rows[u], -1 where it is not in the area.
// For the lookups (NewerRows in value_rows.h).
void find_staged(const Context& context, Tensor newer, const StagedRows& staged,
                 const UniqueRows& unique);

// Says who goes, stays and comes: rows of the area that are not among `unique` go, those of
// `unique` that are not in the area come, until the list ends or the area is full. The area's lists
// are then those after the exchange, whose copies are still to be made.
void plan_exchange(const Context& context, const StagedRows& staged, const UniqueRows& unique);
std::int64_t plan_exchange_scratch_bytes(Device device, std::int64_t places, std::int64_t listed);

// How much of the GPU an exchange takes: as little as keeps the link fairly busy, for copies beside
// other work, or as much as helps.
enum class ExchangePace : std::uint8_t { beside_others, alone };

// Makes the copies that plan_exchange() has listed, between the area and the table, whose layouts
// are the same. Called on two streams, both take parts from one list until none is left, and the
// exchange is done when both are: begun early beside other work, it is finished at full speed.
void exchange_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                   ExchangePace pace);

// Writes all rows of the area to the table; they stay in the area too.
void store_rows(const Context& context, const ValueRows& table, const StagedRows& staged);

namespace cuda {
decltype(memengine::empty_staging) empty_staging;
decltype(memengine::find_staged) find_staged;
decltype(memengine::plan_exchange) plan_exchange;
std::int64_t plan_exchange_scratch_bytes(std::int64_t places, std::int64_t listed);
decltype(memengine::exchange_rows) exchange_rows;
decltype(memengine::store_rows) store_rows;
}  // namespace cuda

}  // namespace memengine
