// How much faster several ranks train than one: `memengine bench` as one of several ranks.
#pragma once

#include <functional>
#include <string>

#include "engine/bench/bench.h"
#include "kernels/runtime/communicator.h"

namespace memengine::bench {

// Input error for options that ask for anything but whole steps, and as check_bench_options().
void check_ranks_bench_options(const BenchOptions& options);

// For each case: a step of one rank alone, which rank 0 measures while the others wait; then a step
// of all ranks, each with a batch of that size; then how long the exchanges of such steps take and
// what they send. All ranks call this with the same options; rank 0's `say` gets the lines, and it
// alone writes JSON. Input errors: as run_bench(), and whatever is asked for but whole steps.
// Without cases: those of the table of tests/GPU.md on a GPU, the small ones on the CPU. Where
// options.data is given the cases read it, those of which the table says so random tokens as well.
Results run_ranks_bench(const BenchOptions& options, Communicator& ranks,
                        const std::function<void(const std::string&)>& say);

}  // namespace memengine::bench
