// See launch.h.
#include "cli/ranks/launch.h"

#include <fmt/core.h>

#include <cstdio>
#include <filesystem>

#include "cli/terminal.h"
#include "engine/launch/launch_ranks.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/nccl_communicator.h"

namespace memengine {

void launch_on_gpus(const std::string& gpus, const std::vector<std::string>& words) {
  Launch launch;
  launch.ranks = gpus_asked(gpus);
  if (launch.ranks > 1 && !nccl_is_built_in()) {
    fail_input(
        "--gpus {}: this build has no NCCL, which joins GPUs: install libnccl-dev and build again",
        gpus);
  }
  launch.program = std::filesystem::read_symlink("/proc/self/exe").string();
  launch.arguments = words;
  catch_stop_signals(nullptr);  // rank 0 answers them
  launch.stop_signal = stop_signal;
  launch.say = [](const std::string& line) { fmt::print(stderr, "memengine: {}\n", line); };
  if (const int code = launch_ranks(launch); code != 0) throw EndedQuietly{code};
}

void refuse_launch_by_rank(const RankStart& start, const std::string& value, const char* option) {
  if (value.empty() || start.size == 1) return;
  fail_input("{} starts ranks itself, and this process is rank {} of {} already: leave it out",
             option, start.rank, start.size);
}

}  // namespace memengine
