// Rows of a spread table and their gradients, read where other ranks hold them.
//
// GPUs of one host can read one another's memory. A lookup then needs nobody's answer: its distinct
// rows are read from their owners' parts, and an owner reads what the others have gathered for it.
// How many rows that are stays on the devices, so that a step asks no host and is one graph. What
// is read must be there before and stay until all have read it: Communicator::meet() is where ranks
// wait for one another (model/memory/peer_trade.h says when).
//
// Numbers are spread numbers (row_owners.h). A list of rank r is what it has of distinct rows,
// sorted, so the rows of each owner stand together:
//
//     rank 0's list   | rows of owner 0 | rows of owner 1   |
//     rank 1's list   | rows of owner 0   | rows of owner 1 |
//     requests at owner 1: | of rank 0's list | of rank 1's list | part() ... part()  (padding)
//
// It is the exchange of row_trade.h without messages: the same rows and sums in the same order.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/runtime/context.h"
#include "kernels/table/spread/row_owners.h"
#include "kernels/table/value_rows.h"

namespace memengine {

inline constexpr int most_peers = 16;

// What lies at these addresses, valid on this rank's device, is rank 0's, rank 1's, ...
struct PeerAddresses {
  const void* of[most_peers] = {};
  int size = 0;

  PeerAddresses() = default;
  explicit PeerAddresses(const std::vector<void*>& addresses);  // at most most_peers
};

// The parts of one table.
struct PeerTable {
  PeerAddresses hi, records;
  RecordLayout layout;
};

// out [capacity, v_dim] (f32, f64 or bf16): row u = the row with number unique.rows[u], for u <
// count, as the forward pass reads it without decay. bf16 takes the stored upper halves.
void gather_peer_rows(const Context& context, Tensor out, const PeerTable& table,
                      const UniqueRows& unique, const RowOwners& owners, ValuePrecision precision);

// Each rank's list: rows i32 [capacity], and how many of them each rank owns, i32 [ranks]
// (count_by_owner).
struct PeerLists {
  PeerAddresses rows, counts;
};

// What all lists ask of rank `owner`:
//   requests [Q] i32    places in its part, of rank 0's list, of rank 1's, ...; then part()
//   count    [1] i32    how many are no padding
//   begins   [ranks, 2] i32  where the rows of rank r's list begin in `requests`, and in the list
void pull_requests(const Context& context, Tensor requests, Tensor count, Tensor begins,
                   const PeerLists& lists, const RowOwners& owners, std::int64_t owner);

// `owned` is what deduplicate() made of padded requests, of a table of part() + 1 rows: the last
// row leaves it if that is the padding's.
void drop_padding(const Context& context, const UniqueRows& owned, const RowOwners& owners);

// out [capacity, v_dim] (f32 or f64): row u = the sum of what the ranks have for owned.rows[u], in
// their order; rows.of[r] [*, v_dim] is of out's dtype and stands in the order of rank r's list.
// square_sum f64 [1] = the sum of squares of all of them.
void sum_peer_rows(const Context& context, Tensor out, Tensor square_sum, const PeerAddresses& rows,
                   Tensor begins, const UniqueRows& owned);

std::int64_t sum_peer_rows_scratch_bytes(Device device);

namespace cuda {
decltype(memengine::gather_peer_rows) gather_peer_rows;
decltype(memengine::pull_requests) pull_requests;
decltype(memengine::drop_padding) drop_padding;
decltype(memengine::sum_peer_rows) sum_peer_rows;
std::int64_t sum_peer_rows_scratch_bytes();
}  // namespace cuda

}  // namespace memengine
