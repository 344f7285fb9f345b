// Lookups of a spread table that only owners can read, where ranks share device memory: tables in
// host memory, and those whose rows decay.
//
// An owner pulls what the ranks' lists ask of it, makes each row that anybody asks for ready once,
// however many ranks do, and the ranks read what they listed (kernels/table/spread/
// peer_answers.h). A table with a cache of BF16 weights is read by place: the cache with the
// pass's guests is what the others read. Else the owner gathers its distinct rows. Like
// peer_trade.h it tells no host how many rows that is, so a step is one graph:
//
//     every rank | list | o  owner: pull, read host memory | o  read answers | the layer ...
//
// Ranks meet (o) when all lists are there and when all answers are. What the first reads, the lists
// of the next lookup overwrite after the second; what is read after the second, the owner
// overwrites after the first meeting of the next lookup, or of what merges the step's picks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/runtime/communicator.h"
#include "kernels/runtime/memory/arena.h"
#include "kernels/table/spread/peer_answers.h"
#include "model/memory/value_table.h"

namespace memengine {

class PeerLookup {
 public:
  // For lookups of up to `picks` distinct rows on every rank, in tables of one size.
  PeerLookup(const std::vector<ValueTable>& tables, RankPlace place, std::int64_t picks,
             Arena& device);

  // Before the first pass, all ranks together; `list` is this rank's in every lookup.
  void find_peers(Communicator& ranks, const std::vector<ValueTable>& tables, Tensor list);

  // out[t] [U, v_dim] = the rows of `unique`, of table t. All ranks together.
  void fetch(const Context& context, std::span<const Tensor> out,
             const std::vector<ValueTable>& tables, const UniqueRows& unique,
             const LazyDecay& decay, bool first_of_pass) const;

  std::int64_t scratch_bytes(Device device) const;

 private:
  RowOwners owners_;
  RankPlace place_;
  Tensor counts_;                // i32 [ranks]: rows that this rank lists of each owner
  Tensor requests_;              // i32 [most requests]
  Tensor request_count_;         // i32 [1]
  Tensor begins_, bases_;        // i32 [ranks, 2]
  Tensor numbers_;               // i32 [most requests]: the row that answers each
  UniqueRows asked_;             // of all requests; empty where tables are read by place
  std::vector<Tensor> answers_;  // of each table, the same
  PeerLists lists_;
  PeerAddresses all_numbers_;
  std::vector<PeerAddresses> rows_;  // of each table
};

}  // namespace memengine
