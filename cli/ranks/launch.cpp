// See launch.h.
#include "cli/ranks/launch.h"

#include <fmt/core.h>

#include <cstdio>
#include <filesystem>

#include "cli/terminal.h"
#include "engine/launch/launch_mpirun.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/nccl_communicator.h"

namespace memengine {
namespace {

Launch launch_of(int ranks, const std::vector<std::string>& words) {
  Launch launch;
  launch.ranks = ranks;
  launch.program = std::filesystem::read_symlink("/proc/self/exe").string();
  launch.arguments = words;
  catch_stop_signals(nullptr);  // rank 0 answers them
  launch.stop_signal = stop_signal;
  launch.say = [](const std::string& line) { fmt::print(stderr, "memengine: {}\n", line); };
  return launch;
}

}  // namespace

void launch_on_gpus(const std::string& gpus, const std::vector<std::string>& words) {
  const Launch launch = launch_of(gpus_asked(gpus), words);
  if (launch.ranks > 1 && !nccl_is_built_in()) {
    fail_input(
        "--gpus {}: this build has no NCCL, which joins GPUs: install libnccl-dev and build again",
        gpus);
  }
  if (const int code = launch_ranks(launch); code != 0) throw EndedQuietly{code};
}

void launch_on_cpu(int ranks, const std::vector<std::string>& words) {
  if (const int code = launch_mpirun(launch_of(ranks, words)); code != 0) throw EndedQuietly{code};
}

void refuse_launch_by_rank(const RankStart& start, const std::string& value, const char* option) {
  if (value.empty() || start.size == 1) return;
  fail_input("{} starts ranks itself, and this process is rank {} of {} already: leave it out",
             option, start.rank, start.size);
}

}  // namespace memengine
