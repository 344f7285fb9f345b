// A cache in GPU memory for the rows of a host table.
//
// A step knows which rows it will update as soon as it has looked them up, long before it has their
// gradients. So rows are brought into the cache's area while the GPU computes something else, and
// are updated there. They stay for as long as there is room: which rows a text uses has a heavy
// tail, and most rows of a step are rows of many steps. A row that must make room for another has
// the lowest heat, a count of the steps that used it which forgets an eighth with every step
// (row_heat.h). Row by row one goes as one comes, so that both directions of the link are busy.
//
//     step t     | lookups: places of rows; guests come | exchange: go, stay, come | update, there
//     step t + 1 |                                      | exchange ...
//
// `place_of` tells of every row of the table where it is. While a row is in the area, only its copy
// there is read and written; the table's is old until the row goes back, or store_rows() is called.
//
// Lookups that read BF16 weights need no list of distinct rows and gather nothing: a pick is
// replaced by its row's place, and bags read the weights there. Weights of rows that are not in the
// area come as guests: to places after the area's, where there are only weights, until the pass
// ends. Most of them the exchange moves into the area, and fetches what else there is of a row.
// A step that updates more rows than there are places updates the others in the table.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/runtime/context.h"
#include "kernels/table/value_rows.h"

namespace memengine {

// S places for rows, G for guests (0: lookups gather), lists of up to L rows, a table of R rows.
struct StagedSize {
  std::int64_t places = 0;
  std::int64_t guests = 0;
  std::int64_t listed = 0;
  std::int64_t table_rows = 0;
};

// The caller owns the memory (staged_rows()); empty_staging() makes it ready.
struct StagedRows {
  ValueRows values;  // S places; values.hi goes on with G places for guests
  Tensor place_of;   // [R] i32: the row's place; S + g: it is guest g; -1: it is in the table only
  Tensor row_at;     // [S] i32: the row in each of the first `occupied` places
  Tensor heat;       // [S] u8
  Tensor occupied;   // [1] i32: the places below are taken, the others free
  Tensor marks;      // [R / 32, rounded up] i32: a bit for each row; zero between two calls
  Tensor guests;     // [G] i32: the guests' rows
  Tensor pass;       // [2] i32: guests before the last lookup, and after it
  // The last exchange. listed[i], i < count, are the numbers in the step's list of its rows that
  // are in the area, ascending, and placed[i] their places; then come the numbers of the others.
  Tensor listed;  // [L] i32
  Tensor placed;  // [L] i32
  Tensor count;   // [1] i32
  // What is left to copy of it: the i-th row that goes leaves its place to the i-th that comes, if
  // there are that many.
  Tensor coming;  // [3, min(S, L)] i32: rows that come, ascending, their places, and where their
                  // weights are already: the place of a guest, or -1
  Tensor going;   // [2, min(S, L)] i32: rows that go, ascending, and their places
  Tensor moves;   // [3] i32: how many come, how many go, the next part that nobody has taken

  std::int64_t capacity() const { return values.rows; }  // S; 0: no area
  std::int64_t guest_capacity() const { return guests.empty() ? 0 : guests.dim(0); }
  std::int64_t exchanged() const { return going.dim(1); }
  // What lookups read by place: the area's weights and the guests'. No records.
  ValueRows readable() const {
    ValueRows rows = values;
    rows.rows += guest_capacity();
    return rows;
  }
};

// Bytes of the cache that do not depend on S, and those of each place. Guests are not counted: they
// take the room of the rows that a lookup would gather.
inline std::int64_t staged_fixed_bytes(const StagedSize& size) {
  return 4 * size.table_rows + (size.table_rows + 31) / 32 * 4 + 8 * size.listed;
}
inline std::int64_t staged_place_bytes(const RecordLayout& layout) {
  return 2 * layout.v_dim + layout.bytes() + 4 + 1 + (3 + 2) * 4;
}

// allocate(dtype, shape) returns a tensor.
template <typename Allocate>
StagedRows staged_rows(const StagedSize& size, const RecordLayout& layout, Allocate&& allocate) {
  StagedRows staged;
  if (size.places <= 0) return staged;
  const std::int64_t exchanged = std::min(size.places, size.listed);
  staged.values.rows = size.places;
  staged.values.layout = layout;
  staged.values.hi = static_cast<std::uint16_t*>(
      allocate(DType::bf16, {size.places + size.guests, layout.v_dim}).data());
  staged.values.records =
      static_cast<std::byte*>(allocate(DType::u8, {size.places, layout.bytes()}).data());
  staged.place_of = allocate(DType::i32, {size.table_rows});
  staged.row_at = allocate(DType::i32, {size.places});
  staged.heat = allocate(DType::u8, {size.places});
  staged.occupied = allocate(DType::i32, {1});
  staged.marks = allocate(DType::i32, {(size.table_rows + 31) / 32});
  if (size.guests > 0) {
    staged.guests = allocate(DType::i32, {size.guests});
    staged.pass = allocate(DType::i32, {2});
  }
  staged.listed = allocate(DType::i32, {size.listed});
  staged.placed = allocate(DType::i32, {size.listed});
  staged.count = allocate(DType::i32, {1});
  staged.coming = allocate(DType::i32, {3, exchanged});
  staged.going = allocate(DType::i32, {2, exchanged});
  staged.moves = allocate(DType::i32, {3});
  return staged;
}

// No rows, no guests, all places free.
void empty_staging(const Context& context, const StagedRows& staged);

// --- Lookups -------------------------------------------------------------------------------------

// newer [L] i32, u < unique.count: the place of row unique.rows[u], -1 where it is not in the area.
// For lookups that gather (NewerRows in value_rows.h).
void find_staged(const Context& context, Tensor newer, const StagedRows& staged,
                 const UniqueRows& unique);

// A pass, of one or more lookups, begins: the guests of the last one leave.
void forget_guests(const Context& context, const StagedRows& staged);

// Of rows picked that are neither in the area nor guests: they become guests, numbers pass[0] to
// pass[1] - 1, in ascending order. Their weights are still to be copied to those places. picks [P]
// i32; a pass picks at most G distinct rows. Only the first `count` [1] i32 of them count; empty:
// all.
void invite_guests(const Context& context, const StagedRows& staged, Tensor picks,
                   Tensor count = {});
std::int64_t invite_guests_scratch_bytes(Device device, std::int64_t table_rows);

// Where the guests' weights go: [G, v_dim] bf16.
Tensor guest_rows(const StagedRows& staged);

// places [P] i32 = the place of each pick's row, which is in the area or a guest. `count` as above;
// the other places are left as they are.
void place_picks(const Context& context, Tensor places, Tensor picks, const StagedRows& staged,
                 Tensor count = {});

// --- The exchange --------------------------------------------------------------------------------

// Says who goes, stays and comes. `unique` are the rows that the step will update; of those that
// are not in the area as many come as find a free place or one of a row that is not in the list,
// and the coldest of those go. The area's lists are then those after the exchange, whose copies
// are still to be made.
void plan_exchange(const Context& context, const StagedRows& staged, const UniqueRows& unique);
std::int64_t plan_exchange_scratch_bytes(Device device, const StagedSize& size);

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
decltype(memengine::forget_guests) forget_guests;
decltype(memengine::invite_guests) invite_guests;
std::int64_t invite_guests_scratch_bytes(std::int64_t table_rows);
decltype(memengine::place_picks) place_picks;
decltype(memengine::plan_exchange) plan_exchange;
std::int64_t plan_exchange_scratch_bytes(const StagedSize& size);
decltype(memengine::exchange_rows) exchange_rows;
decltype(memengine::store_rows) store_rows;
}  // namespace cuda

}  // namespace memengine
