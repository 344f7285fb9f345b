// Where a run gets its communicator from.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "kernels/runtime/communicator.h"
#include "kernels/runtime/ranks/rank_start.h"
#include "kernels/runtime/ranks/rank_watch.h"

namespace memengine {

// Before anything asks for a GPU: this process sees only the one that its place on the host gives
// it. Input error where there is none for it.
void see_own_gpu(const RankStart& start);

// The ranks that this process was started with. Alone: a communicator of one rank and no watch.
struct JoinedRanks {
  RankStart start;
  std::unique_ptr<Communicator> communicator;
  std::unique_ptr<RankWatch> watch;  // goes first

  bool several() const { return start.size > 1; }
  // The orderly end of a run's work, by all ranks.
  void leave();
};

// Meets the others (meeting.h) and joins them: NCCL between GPUs, MPI between CPUs. `say` is told
// for whom it waits, `last_resort` and `stop_signal` as in RankWatch. Input errors: where this
// build or the way the ranks were started cannot do that; as meet() does.
JoinedRanks join_ranks(const RankStart& start, Device device,
                       const std::function<void(const std::string&)>& say,
                       const std::function<void(const RankEnd&)>& last_resort,
                       const std::function<int()>& stop_signal);

}  // namespace memengine
