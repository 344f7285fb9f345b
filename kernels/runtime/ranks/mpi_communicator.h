// Ranks on CPUs, over MPI: `mpirun -n 3 memengine train ...`.
//
// Sums are taken in the order of ranks, whatever the library's own algorithms would do: each rank
// adds up one part of the tensor and hands it out. Waits give the processor away between looks, so
// that more ranks than cores get on.
#pragma once

#include <memory>

#include "kernels/runtime/communicator.h"

namespace memengine {

// Whether this build has MPI.
bool mpi_is_built_in();

// Joins the processes that mpirun (or srun with PMI) has started together with this one; starts
// MPI, once a process. Input error where this build has no MPI.
std::unique_ptr<Communicator> mpi_communicator();

}  // namespace memengine
