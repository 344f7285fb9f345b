// Starts the ranks of a run on this host, one process for each.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace memengine {

// GPUs that this process sees; 0 in a build without CUDA.
int visible_gpus();
// How many of them `text` asks for: a number, or "all". Input error for other words, and where
// there are fewer.
int gpus_asked(const std::string& text);

struct Launch {
  int ranks = 1;
  std::string program;
  std::vector<std::string> arguments;
  std::function<int()> stop_signal;             // that asks this process to stop; 0: none
  std::function<void(const std::string&)> say;  // told who was killed
  double minutes_after_end = 1;                 // what ranks have once one of them is done
  double seconds_after_failure = 20;            // and once one has failed
};

// Starts the program as each of the ranks (kernels/runtime/ranks/rank_start.h) and returns the exit
// code of them together once all have ended: 0 where all have done their work; else the most
// telling of theirs, a wrong input (2) before bad numbers (3) before any failure (1) before a stop;
// 1 where one was killed. Ranks that do not end in time after one has are killed. A stop signal
// goes to the first rank that is there, which asks the others; and all are asked to stop when this
// process dies. Only rank 0 has our standard input and output.
int launch_ranks(const Launch& launch);

}  // namespace memengine
