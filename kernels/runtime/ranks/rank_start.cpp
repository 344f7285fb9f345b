// See rank_start.h.
#include "kernels/runtime/ranks/rank_start.h"

#include <charconv>
#include <cstdlib>
#include <random>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Starter = RankStart::Starter;

constexpr int ports_tried = 32;

class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const char* name) const { return environment_(name) != nullptr; }
  std::string text(const char* name) const {
    const char* value = environment_(name);
    return value == nullptr ? "" : value;
  }
  int number(const char* name, int least, int most) const {
    const std::string value = text(name);
    int number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < least ||
        number > most) {
      fail_input(
          "the environment says {}={}, which is no whole number from {} to {}: start the ranks "
          "with memengine train --gpus N, torchrun, mpirun or srun, or unset it",
          name, value, least, most);
    }
    return number;
  }
  int number_or(const char* name, int least, int most, int otherwise) const {
    return has(name) ? number(name, least, most) : otherwise;
  }

 private:
  const Environment& environment_;
};

struct Names {
  Starter starter;
  const char *rank, *size, *local_rank, *local_size;
};
constexpr Names starters[] = {
    {Starter::memengine, "MEMENGINE_RANK", "MEMENGINE_RANKS", nullptr, nullptr},
    {Starter::torchrun, "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {Starter::mpirun, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    // Of the step, which only srun makes: a batch script of many tasks is one process.
    {Starter::srun, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", nullptr}};

// "4(x2),3" tasks on each node; the first number where this is all one host's.
int slurm_local_size(const Variables& variables, int size) {
  const std::string nodes = variables.text("SLURM_STEP_NUM_NODES");
  return nodes == "1" ? size : 1;
}

// What the job is called where nobody else's is called the same.
std::string identity(const Variables& variables, Starter starter) {
  std::string text;
  const auto add = [&](const char* name) { text += variables.text(name) + '\n'; };
  switch (starter) {
    case Starter::torchrun:
      for (const char* name : {"TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR",
                               "MASTER_PORT", "WORLD_SIZE"}) {
        add(name);
      }
      break;
    case Starter::mpirun:
      for (const char* name : {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "SLURM_JOB_ID"}) {
        add(name);
      }
      break;
    case Starter::srun:
      for (const char* name : {"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT",
                               "SLURM_CLUSTER_NAME", "SLURM_JOB_START_TIME"}) {
        add(name);
      }
      break;
    case Starter::nobody:
    case Starter::memengine:
      break;
  }
  return text;
}

std::uint64_t fnv(const std::string& text, std::uint64_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash ^ hash >> 29;
}

void find_meeting(const Variables& variables, RankStart& place) {
  const std::string whose = identity(variables, place.starter);
  place.token = token_of(variables.text("MEMENGINE_TOKEN") + '\n' + whose);
  if (place.starter == Starter::memengine) {
    place.token = variables.text("MEMENGINE_TOKEN");
    place.address = "127.0.0.1";
    place.first_port = variables.number("MEMENGINE_MEETING", 1, 65535);
    place.ports = 1;
    place.listening = variables.number_or("MEMENGINE_LISTENING", 0, 1 << 20, -1);
    return;
  }
  if (variables.has("MASTER_ADDR")) {
    place.address = variables.text("MASTER_ADDR");
  } else if (place.one_host()) {
    place.address = "127.0.0.1";
  } else if (place.starter == Starter::srun) {
    place.address = first_host(variables.text("SLURM_STEP_NODELIST"));
  }
  if (place.address.empty()) {
    fail_input(
        "{} ranks on several hosts do not know where to meet: set MASTER_ADDR to the host of rank "
        "0 in the environment of all of them (with mpirun: -x MASTER_ADDR=HOST)",
        place.size);
  }
  if (variables.has("MASTER_PORT")) {
    place.first_port = variables.number("MASTER_PORT", 1, 65534) + 1;
  } else {
    // Below the ports that systems give to whoever asks for any.
    place.first_port = 20000 + static_cast<int>(fnv(whose, 0xcbf29ce484222325u) % 12000);
  }
  place.ports = std::min(ports_tried, 65536 - place.first_port);
}

}  // namespace

std::string token_of(const std::string& text) {
  return fmt::format("{:016x}{:016x}", fnv(text, 0xcbf29ce484222325u),
                     fnv(text, 0x84222325cbf29ce4u));
}

std::string random_token() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

std::string first_host(const std::string& list) {
  const std::size_t end = list.find_first_of("[,");
  std::string host = list.substr(0, end);
  if (end == list.npos || list[end] == ',') return host;
  const std::size_t number_end = std::min(list.find_first_of("-,]", end + 1), list.size());
  host += list.substr(end + 1, number_end - end - 1);
  const std::size_t close = list.find(']', end);  // "rack[1-2]n[1-4]": a second list, of the rest
  if (close == list.npos || close + 1 == list.size() || list[close + 1] == ',') return host;
  return host + first_host(list.substr(close + 1));
}

RankStart rank_start(const Environment& environment) {
  const Variables variables(environment);
  RankStart place;
  for (const Names& names : starters) {
    if (!variables.has(names.rank) || !variables.has(names.size)) continue;
    place.starter = names.starter;
    place.size = variables.number(names.size, 1, 1 << 20);
    place.rank = variables.number(names.rank, 0, place.size - 1);
    if (names.starter == Starter::memengine) {
      place.local_rank = place.rank;
      place.local_size = place.size;
    } else {
      place.local_rank = variables.number_or(names.local_rank, 0, place.size - 1, 0);
      place.local_size = names.starter == Starter::srun
                             ? slurm_local_size(variables, place.size)
                             : variables.number_or(names.local_size, 1, place.size, 1);
    }
    break;
  }
  if (place.size == 1) return {};
  find_meeting(variables, place);
  return place;
}

RankStart rank_start() {
  return rank_start([](const char* name) { return std::getenv(name); });
}

}  // namespace memengine
