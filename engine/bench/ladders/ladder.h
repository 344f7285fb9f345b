// Ladders: one op in several ways, from the obvious one up to the kernel that the engine uses, each
// with the reason why it is faster than the one before. `memengine bench --ladder NAME` times them.
//
// The lower rungs are in kernels/ladders/, a file each, and compute the same as the last one, which
// is the engine's own function. tests/engine/bench/ladders_test.cpp compares them all with the
// engine's CPU reference.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/bench/ops/workbench.h"

namespace memengine::bench {

struct Rung {
  std::string name;           // of the function
  std::string file;           // without an ending: .cpp or .cu, as the device is
  std::string why;            // one sentence
  std::function<void()> run;  // enqueues the work on the workbench's stream; empty: needs a GPU
};

// A ladder with its inputs on the workbench's device, which stay until the workbench is cleared.
struct Ladder {
  std::string shape;  // for people
  std::vector<Rung> rungs;
  std::function<void()> reset;                  // outputs and state as before the first rung
  std::function<std::vector<double>()> result;  // of the rung that ran last; waits for the device
  std::vector<std::shared_ptr<void>> kept;      // what the rungs work on beside tensors
};

struct LadderOptions {
  enum class Size : std::uint8_t {
    tiny,   // odd sizes; inputs whose sums are exact, with ties: for tests
    quick,  // of seconds
    full,
  } size = Size::full;
  double table_gib = 32;  // host memory that host_gather gathers from on a GPU

  bool tiny() const { return size == Size::tiny; }
  // One number for each size.
  template <typename Number>
  Number of(Number at_tiny, Number at_quick, Number at_full) const {
    return size == Size::tiny ? at_tiny : size == Size::quick ? at_quick : at_full;
  }
};

struct NamedLadder {
  const char* name;
  const char* what;
  Ladder (*build)(Workbench& bench, const LadderOptions& options);
};

const std::vector<NamedLadder>& all_ladders();

// Input error, with all names, where there is none of this name.
const NamedLadder& find_ladder(const std::string& name);

Ladder host_gather_ladder(Workbench& bench, const LadderOptions& options);
Ladder product_key_ladder(Workbench& bench, const LadderOptions& options);
Ladder bag_rows_ladder(Workbench& bench, const LadderOptions& options);
Ladder sparse_adam_ladder(Workbench& bench, const LadderOptions& options);
Ladder attention_ladder(Workbench& bench, const LadderOptions& options);

// --- For those that build one --------------------------------------------------------------------

// What the activations are: FP32 on the CPU, BF16 on a GPU.
DType activations(Workbench& bench);

// Normal deviates; for tests multiples of a quarter, whose products and sums FP32 holds exactly.
Tensor ladder_numbers(Workbench& bench, const LadderOptions& options, DType dtype,
                      std::initializer_list<std::int64_t> shape);

// The tensor's numbers (f32, bf16, i32), after waiting for the device.
std::vector<double> numbers_of(Workbench& bench, Tensor tensor);

}  // namespace memengine::bench
