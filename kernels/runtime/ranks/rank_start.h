// Who this process is among those that were started together, as whoever started them says it in
// the environment, and where they meet.
//
//   memengine --gpus N   MEMENGINE_RANK, MEMENGINE_RANKS, MEMENGINE_MEETING, MEMENGINE_TOKEN
//   torchrun             RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT
//   mpirun (Open MPI)    OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE, PMIX_NAMESPACE
//   srun                 SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID, SLURM_STEP_NODELIST
//
// The first in this order that is whole counts. MASTER_ADDR and MASTER_PORT name the meeting's
// place under mpirun and srun too, and MEMENGINE_TOKEN its token.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace memengine {

struct RankStart {
  enum class Starter : std::uint8_t { nobody, memengine, torchrun, mpirun, srun };

  Starter starter = Starter::nobody;
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // among the processes of this host
  int local_size = 1;

  // Where rank 0 listens: at the first of `ports` ports from `first_port` on that is free. The
  // launcher of torchrun listens at MASTER_PORT itself, so the meeting is at those after it.
  std::string address;
  int first_port = 0;
  int ports = 0;
  int listening = -1;  // a socket that listens there already, which rank 0 was given
  // 32 hexadecimal digits that the run's processes have in common and nobody else: drawn by chance
  // where we start them ourselves, else derived from the job's identity.
  std::string token;

  // All processes are on this host.
  bool one_host() const { return local_size == size; }
};

// The value of a variable, or null.
using Environment = std::function<const char*(const char*)>;

// Input errors: numbers that are none or do not fit one another, several hosts and no MASTER_ADDR.
RankStart rank_start(const Environment& environment);
RankStart rank_start();  // of this process

// 32 hexadecimal digits by chance; and the same ones for the same text.
std::string random_token();
std::string token_of(const std::string& text);

// The first host of a list as SLURM writes it: "n[007-012,40],login" -> "n007".
std::string first_host(const std::string& list);

}  // namespace memengine
