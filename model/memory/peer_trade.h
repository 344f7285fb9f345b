// Reading the rows of a spread table in device memory at their owners, and the owners' reading of
// the gradients of any spread table, where ranks share memory (kernels/table/spread/peer_rows.h).
// No rank's host waits for another, and no number of rows is known to a host, so a step with it is
// one graph. (Tables that only their owners can read: peer_lookup.h.)
//
// When ranks wait for one another, in a step (o: a meeting of all ranks on that stream):
//
//     main | o lookups: rows out of all parts | ... backward pass ...  sum of losses | update of
//     rows side |      o lists are there: requests |  row gradients  o they are there: sums | and
//     norm
//
//   1. Before a pass's first lookup: the updates of the step before are done everywhere, and nobody
//      reads the lists and row gradients of that step any more.
//   2. Before an owner reads what is asked of it: every rank's list is there.
//   3. Before it adds up: every rank's row gradients are there.
//   4. Before it updates: every rank has looked up. That is the sum of losses over the ranks, which
//      each step has at its end anyway.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/runtime/communicator.h"
#include "kernels/runtime/memory/arena.h"
#include "kernels/table/spread/peer_rows.h"
#include "model/memory/value_table.h"

namespace memengine {

class PeerTrade {
 public:
  // For steps of up to `picks` distinct rows on every rank; memory for requests only with
  // `training`.
  PeerTrade(const RowOwners& owners, RankPlace place, std::int64_t picks, bool training,
            Arena& device);

  // Most requests.
  static std::int64_t capacity(const RowOwners& owners, std::int64_t picks);
  // Most distinct rows of them, and their padding.
  static std::int64_t owned_capacity(const RowOwners& owners, std::int64_t picks);

  // Before the first pass, all ranks together: where the others hold the tables' parts, their list
  // `list` of a step and their row gradients.
  void find_peers(Communicator& ranks, const std::vector<ValueTable>& tables, Tensor list);

  // out [U, v_dim] = the rows of `unique`, of table t.
  void read(const Context& context, std::size_t t, Tensor out, const UniqueRows& unique,
            ValuePrecision precision) const;

  // owned = the distinct rows of all ranks' lists that this one owns; `list` is this rank's.
  void open(const Context& context, const UniqueRows& list, const UniqueRows& owned) const;
  // The gradients of the owned rows of table t, and the sum of their squares, from all ranks'.
  void sum(const Context& context, std::size_t t, const ValueTable& table,
           const UniqueRows& owned) const;

  // Of the last open(), on the host: how many rows this rank lists of each owner, and how many each
  // rank's list asks of it.
  struct Counts {
    std::vector<std::int64_t> listed_of, requested_by;
  };
  Counts counts(const Context& context) const;

 private:
  RowOwners owners_;
  RankPlace place_;
  Tensor counts_;         // i32 [ranks]: rows that this rank lists of each owner
  Tensor requests_;       // i32 [capacity]
  Tensor request_count_;  // i32 [1]
  Tensor begins_;         // i32 [ranks, 2]
  std::vector<PeerTable> tables_;
  std::vector<PeerAddresses> gradients_;  // of each table
  PeerLists lists_;
};

}  // namespace memengine
