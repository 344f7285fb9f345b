// De-duplication: the sorted list of distinct rows among P picks, and who picked each.
//
// A lookup reads each distinct row over the link once, however many of its tokens pick it, and a
// step updates each once, so everything between the lookup and the optimizer works on this list.
// (Several lookups of a step that pick the same row each read it; and a row of a host table that is
// updated on the GPU crosses once more each way: staged_rows/staged_rows.h.) Sorted order is also
// the order that a link's address translation and the segmented reduction (embedding_bag.h) like.
// Nothing here goes through the host: the number of distinct rows stays in device memory and later
// kernels read it there.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// The result for P picks, all i32, allocated by the caller for `capacity` = min(P, rows) rows:
//   rows     [capacity]      the distinct rows, ascending; U of them are valid
//   count    [1]             U
//   inverse  [P]             picks[p] == rows[inverse[p]]; empty: not wanted
//   order    [P]             the picks sorted by row; equal rows in ascending p (a stable sort)
//   offsets  [capacity + 1]  row u was picked by order[offsets[u] .. offsets[u + 1]);
//                            offsets[U] = P
//   places   [P]             rows[places[i]] == picks[order[i]], ascending; empty: not wanted
//
// Six picks, of a table whose rows go beyond 9:
//
//   p        0  1  2  3  4  5
//   picks    7  2  9  7  2  7
//   inverse  1  0  2  1  0  1      picks 0, 3 and 5 found their row at place 1 of the list
//   u        0  1  2               count = 3
//   rows     2  7  9
//   offsets  0  2  5  6
//   order    1  4  0  3  5  2      row 2 was picked by 1 and 4, row 7 by 0, 3 and 5, row 9 by 2
//   places   0  0  1  1  1  2      for each of `order`, the place of its row
struct UniqueRows {
  Tensor rows, count, inverse, order, offsets, places;
  std::int64_t capacity() const { return rows.dim(0); }
};

// picks [P] i32 in 0 .. table_rows - 1; P < 2^31. Entries past U are left unspecified.
void deduplicate(const Context& context, const UniqueRows& unique, Tensor picks,
                 std::int64_t table_rows);

std::int64_t deduplicate_scratch_bytes(Device device, std::int64_t picks, std::int64_t table_rows);

namespace cuda {
decltype(memengine::deduplicate) deduplicate;
std::int64_t deduplicate_scratch_bytes(std::int64_t picks, std::int64_t table_rows);
}  // namespace cuda

}  // namespace memengine
