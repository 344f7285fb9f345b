// Rows that owners have made ready for other ranks, read where they lie in the owners' memory.
//
// The rows of a host table, or of one whose rows decay, are read by their owner alone: each row of
// its part that any rank asks for once, into memory of its device that the other ranks can read.
// Beside them it writes, for each request (peer_rows.h), the number of the row that answers it:
//
//     rank 1's list         | rows of owner 0   | rows of owner 1   |
//     requests at owner 0:  | of rank 0's list | of rank 1's list |
//     numbers at owner 0:   |  3  0  7  ...    |  0  7  4  ...    |   rows 0 and 7 serve both
//
// A rank finds the answers to its list from where its requests begin at each owner. Owners count in
// device memory, so no host waits.
#pragma once

#include "kernels/runtime/context.h"
#include "kernels/table/spread/peer_rows.h"

namespace memengine {

// bases [ranks, 2] i32: where the requests of rank `rank` begin among those of each owner, and
// where that owner's rows begin in the rank's list. counts.of[r] [ranks] i32: how many rows of each
// owner rank r lists.
void find_bases(const Context& context, Tensor bases, const PeerAddresses& counts,
                std::int64_t rank);

// out [capacity, v_dim]: row u = the owner's answer to row u of `list`, u < list.count: of rows.of[
// owner] [*, v_dim], of out's dtype, the one whose number is at the request's place in numbers.of[
// owner] i32. The other rows are left as they are.
void read_answers(const Context& context, Tensor out, const PeerAddresses& rows,
                  const PeerAddresses& numbers, Tensor bases, const UniqueRows& list,
                  const RowOwners& owners);

namespace cuda {
decltype(memengine::find_bases) find_bases;
decltype(memengine::read_answers) read_answers;
}  // namespace cuda

}  // namespace memengine
