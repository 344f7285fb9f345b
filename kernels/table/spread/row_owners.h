// Who owns which row of a value table that is spread over ranks.
//
// Row r belongs to rank r mod ranks and stands at place r / ranks of its part. The picks of a text
// are uneven, but not by the lowest bits of a row's number, so the parts are used alike.
//
// A row's spread number, owner * part + place with `part` the places of the largest part, orders
// rows by owner first: in a sorted list of distinct spread numbers each owner's rows stand
// together, and that is what it is asked for (model/memory/row_trade.h). With 2 ranks and rows 0 to
// 6:
//
//     row            0  1  2  3  4  5  6
//     owner          0  1  0  1  0  1  0
//     place          0  0  1  1  2  2  3        part = 4
//     spread number  0  4  1  5  2  6  3
#pragma once

#include <cstdint>

#include "kernels/runtime/context.h"
#include "kernels/runtime/ranks/rank_place.h"
#include "kernels/table/deduplicate.h"

namespace memengine {

struct RowOwners {
  std::int64_t rows = 0;  // of the whole table
  std::int64_t ranks = 1;

  std::int64_t part() const { return (rows + ranks - 1) / ranks; }
  // Spread numbers lie below.
  std::int64_t numbers() const { return ranks * part(); }
  std::int64_t rows_of(std::int64_t rank) const { return (rows - rank + ranks - 1) / ranks; }
};

// out [P] = the spread numbers of picks [P]; both i32, other memory.
void spread_numbers(const Context& context, Tensor out, Tensor picks, const RowOwners& owners);

// counts [ranks] i32: how many of the distinct spread numbers of `unique` each rank owns.
void count_by_owner(const Context& context, Tensor counts, const UniqueRows& unique,
                    const RowOwners& owners);

// What came to its owner: the spread numbers rows [Q] i32 become places in its part; count [1] i32
// = Q, which may be 0. On the CPU a number that is another owner's is an internal error.
void settle_requests(const Context& context, Tensor rows, Tensor count, const RowOwners& owners,
                     std::int64_t owner);

namespace cuda {
decltype(memengine::spread_numbers) spread_numbers;
decltype(memengine::count_by_owner) count_by_owner;
decltype(memengine::settle_requests) settle_requests;
}  // namespace cuda

}  // namespace memengine
