// The distinct rows of what several ranks ask of an owner, without a sort.
//
// A rank's requests are ascending and each row is there once (peer_rows.h), and ranks are few: so a
// bit for each row of the part says which rows are asked for, a bit for each rank says who asks for
// a row, and counts of bits say where everything goes. The work grows with the requests that there
// are, which only the device knows, not with those that there could be:
//
//     requests     | 2 5 9 | 5 7 |         of ranks 0 and 1
//     rows         2 5 7 9                 count = 4
//     who asks     0  0,1  1  0
//     offsets      0 1 3 4 5
//     order        0 1 3 4 2               row 5 is asked for by requests 1 and 3
#pragma once

#include "kernels/runtime/context.h"
#include "kernels/table/deduplicate.h"

namespace memengine {

// owned = the rows of requests [Q] i32, each below part_rows, of which the first `count` [1] i32
// count: rows, count, order and offsets as deduplicate() makes them of these, and inverse [Q]
// unless it is empty; no places. begins [ranks, 2] i32: where each rank's requests begin
// (pull_requests). At most 16 ranks.
void merge_requests(const Context& context, const UniqueRows& owned, Tensor requests, Tensor count,
                    Tensor begins, std::int64_t part_rows);

// `capacity`: of owned.rows.
std::int64_t merge_requests_scratch_bytes(Device device, std::int64_t capacity,
                                          std::int64_t part_rows);

namespace cuda {
decltype(memengine::merge_requests) merge_requests;
std::int64_t merge_requests_scratch_bytes(std::int64_t capacity, std::int64_t part_rows);
}  // namespace cuda

}  // namespace memengine
