// The keys of `distributed` that say how many processes share the work, where several do.
//
//   dp_shard              of the reference: over how many processes FSDP spreads the dense weights.
//                         Here every rank has all of them.
//   dp_replicate          how many such groups there are, each with all weights.
//   memory_parallel_size  over how many processes the columns of the value tables are spread. Here
//                         their rows are, over all ranks: row modulo the number of ranks.
//   tp_size               tensor parallelism, which is not here.
//
// Whatever they are, each rank trains on a batch of its own, as each of the reference's data-
// parallel processes does.
#pragma once

#include <string>
#include <string_view>

#include "engine/config/config.h"

namespace memengine {

// Input error, which begins with the key, where run.ranks.size ranks do not fit the keys: dp_shard
// and memory_parallel_size must divide their number, dp_replicate above 1 times dp_shard must be
// it, tp_size must be 1. One rank: everything fits.
void check_rank_keys(const RunConfig& run);

// What `asked`, keys with their values, means for these ranks: a sentence without its end.
std::string meaning_for_ranks(const RunConfig& run, std::string_view asked);

}  // namespace memengine
