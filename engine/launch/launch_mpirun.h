// Starts the ranks of a run on this host's processor, by mpirun.
#pragma once

#include "engine/launch/launch_ranks.h"

namespace memengine {

// As launch_ranks(), where ranks on CPUs are joined by MPI. mpirun ends its processes when it is
// interrupted, so a stop signal reaches them as SIGUSR1, on which they finish the step and save.
// Each has an equal share of the cores, unless OMP_NUM_THREADS says how many. Input error where
// this build has no MPI, there is no mpirun, or more ranks are asked for than eight, or four per
// core where that is more.
int launch_mpirun(const Launch& launch);

}  // namespace memengine
