// Starting a command again as each of several ranks of this host.
#pragma once

#include <string>
#include <vector>

#include "kernels/runtime/ranks/rank_start.h"

namespace memengine {

// Runs this program with `words` as so many ranks as `gpus` says ("2", "all"), each on a GPU of its
// own, and returns when all have done their work; else throws EndedQuietly with their exit code.
// Input error where there are not so many GPUs or no NCCL.
void launch_on_gpus(const std::string& gpus, const std::vector<std::string>& words);

// The same with `ranks` ranks on this host's processor. Input error where there is no MPI.
void launch_on_cpu(int ranks, const std::vector<std::string>& words);

// Input error where `option`, with a value, asks a process that is a rank already to start ranks.
void refuse_launch_by_rank(const RankStart& start, const std::string& value, const char* option);

}  // namespace memengine
