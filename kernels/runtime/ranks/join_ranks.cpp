// Reads who started us.
#include "kernels/runtime/ranks/join_ranks.h"

#include <cstdlib>

#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/mpi_communicator.h"

namespace memengine {

std::unique_ptr<Communicator> join_ranks(Device device) {
  const char* text = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (text == nullptr || std::atoi(text) <= 1) return std::make_unique<Communicator>();
  if (device == Device::cuda) fail_input("mpirun started {} ranks: use device=cpu for them", text);
  return mpi_communicator();
}

}  // namespace memengine
