// See join_ranks.h: where the ranks meet under whom, and what joins them.
#include "kernels/runtime/ranks/join_ranks.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/mpi_communicator.h"
#include "kernels/runtime/ranks/nccl_communicator.h"

namespace memengine {
namespace {

// A cluster's hosts may take their time to start a program.
constexpr double meeting_seconds = 300;

const char* starter_name(RankStart::Starter starter) {
  switch (starter) {
    case RankStart::Starter::nobody:
      return "nobody";
    case RankStart::Starter::memengine:
      return "memengine";
    case RankStart::Starter::torchrun:
      return "torchrun";
    case RankStart::Starter::mpirun:
      return "mpirun";
    case RankStart::Starter::srun:
      return "srun";
  }
  return "";
}

// Through MPI the ranks agree where to meet: at whatever port is free, with a token drawn by
// chance.
void agree_on_place(Communicator& mpi, RankStart& place) {
  struct Place {
    char address[256];
    char token[33];
    int port;
  } mine{};
  if (place.rank == 0) {
    const Listener listener = listen_at(0, 1, place.one_host());
    place.listening = listener.socket;
    mine.port = listener.port;
    const std::string token = random_token();
    std::memcpy(mine.token, token.c_str(), token.size());
    const char* named = std::getenv("MASTER_ADDR");
    if (place.one_host()) {
      std::strncpy(mine.address, "127.0.0.1", sizeof(mine.address) - 1);
    } else if (named != nullptr) {
      std::strncpy(mine.address, named, sizeof(mine.address) - 1);
    } else {
      ::gethostname(mine.address, sizeof(mine.address) - 1);
    }
  }
  const Place agreed = mpi.gather(mine).front();
  place.address = agreed.address;
  place.token = agreed.token;
  place.first_port = agreed.port;
  place.ports = 1;
}

std::unique_ptr<Communicator> mpi_of(const RankStart& place) {
  std::unique_ptr<Communicator> mpi = mpi_communicator();
  if (mpi->size() != place.size || mpi->rank() != place.rank) {
    fail_input(
        "{} started this as rank {} of {}, but MPI knows it as rank {} of {}: start ranks on CPUs "
        "with mpirun, or with srun --mpi=pmix",
        starter_name(place.starter), place.rank, place.size, mpi->rank(), mpi->size());
  }
  return mpi;
}

}  // namespace

void see_own_gpu(const RankStart& start) {
  if (start.size == 1) return;
  // A stream that waits for another rank holds up what else goes through its connection to the GPU:
  // each stream shall have one of its own.
  ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  constexpr const char* variable = "CUDA_VISIBLE_DEVICES";
  const char* set = std::getenv(variable);
  if (set == nullptr || *set == '\0') {
    ::setenv(variable, std::to_string(start.local_rank).c_str(), 1);
    return;
  }
  std::vector<std::string> visible = {""};
  for (const char* c = set; *c != '\0'; ++c) {
    if (*c == ',') {
      visible.emplace_back();
    } else {
      visible.back() += *c;
    }
  }
  if (visible.size() == 1) return;  // whoever started us has chosen
  if (start.local_rank >= static_cast<int>(visible.size())) {
    fail_input(
        "rank {} is process {} of this host, where {}={} leaves it no GPU: start as many ranks as "
        "there are GPUs",
        start.rank, start.local_rank, variable, set);
  }
  ::setenv(variable, visible[static_cast<std::size_t>(start.local_rank)].c_str(), 1);
}

JoinedRanks join_ranks(const RankStart& start, Device device,
                       const std::function<void(const std::string&)>& say,
                       const std::function<void(const RankEnd&)>& last_resort,
                       const std::function<int()>& stop_signal) {
  JoinedRanks joined;
  joined.start = start;
  if (start.size == 1) {
    joined.communicator = std::make_unique<Communicator>();
    return joined;
  }
  // What the others are told, and what the watch ends: a communicator may be on its way for long.
  const auto joining = std::make_shared<std::atomic<Communicator*>>(nullptr);
  std::string offer;
  if (device == Device::cuda) {
    if (!nccl_is_built_in()) {
      fail_input(
          "{} started {} ranks on GPUs, and this build has no NCCL, which joins them: install "
          "libnccl-dev and build again",
          starter_name(start.starter), start.size);
    }
    if (start.rank == 0) {
      const NcclId id = new_nccl_id();
      offer.assign(reinterpret_cast<const char*>(id.data()), id.size());
    }
  } else {
    if (start.starter != RankStart::Starter::mpirun && start.starter != RankStart::Starter::srun) {
      fail_input(
          "{} started {} ranks, and ranks on CPUs are joined by MPI: start them with mpirun "
          "-n {} memengine train ...",
          starter_name(start.starter), start.size, start.size);
    }
    joined.communicator = mpi_of(start);
    if (start.starter == RankStart::Starter::mpirun) {
      agree_on_place(*joined.communicator, joined.start);
    }
  }
  RankCircle circle = meet(joined.start, offer, meeting_seconds, say);
  NcclId id{};
  if (device == Device::cuda) {
    const std::string& bytes = start.rank == 0 ? offer : circle.offer;
    if (bytes.size() != id.size()) fail_internal("rank 0 has no id of NCCL for the others");
    std::memcpy(id.data(), bytes.data(), id.size());
  }
  RankWatch::Options options;
  options.on_end = [joining] {
    if (Communicator* communicator = *joining) communicator->abort();
  };
  options.last_resort = last_resort;
  options.stop_signal = stop_signal;
  *joining = joined.communicator.get();
  joined.watch = std::make_unique<RankWatch>(start.rank, std::move(circle), std::move(options));
  if (device == Device::cuda) {
    joined.communicator = nccl_communicator(start.rank, start.size, id);
    *joining = joined.communicator.get();
    joined.watch->check();
  }
  joined.communicator->set_watch([watch = joined.watch.get()] { watch->check(); });
  return joined;
}

void JoinedRanks::leave() {
  communicator->leave();
  if (watch) watch->leave();
}

}  // namespace memengine
