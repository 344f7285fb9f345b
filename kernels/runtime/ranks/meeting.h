// The first meeting of the ranks of a run, over TCP: rank 0 listens, the others look for it.
//
// Both sides prove that they are of the same run before they say anything else: rank 0 greets
// whoever connects with the first half of the run's token, and is answered with the second half. So
// another run, a stranger, or whatever else listens at that port is passed over, and rank 0 may
// listen at any of several ports. The connections stay open afterwards: a socket that closes is how
// the death of a rank shows (rank_watch.h).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/runtime/ranks/connection.h"
#include "kernels/runtime/ranks/rank_start.h"

namespace memengine {

struct RankPeer {
  int rank = 0;
  std::string name;  // "rank 2 (process 4711 on n007)"
  Connection connection;
};

struct RankCircle {
  std::vector<RankPeer> peers;  // of rank 0: all others, ascending; of another: rank 0 alone
  std::string offer;            // rank 0's, on all ranks
};

// "rank 2 (process 4711 on n007)", of this process.
std::string own_rank_name(int rank);

// Returns on all ranks once all are there. `offer`, at most 32 KiB, is what rank 0 has for the
// others. Waits `seconds`, with a longer pause after each try, and tells `say` for whom: after five
// seconds, and then ever more rarely. Errors: input where a process of this run was started as
// another rank, with another number of ranks or another version of the program; internal where
// somebody has not come in time, with his name.
RankCircle meet(const RankStart& place, std::string_view offer, double seconds,
                const std::function<void(const std::string&)>& say);

}  // namespace memengine
