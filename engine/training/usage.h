// How the memory is used, per step and over a held-out set.
#pragma once

#include <vector>

#include "engine/training/training_listener.h"
#include "kernels/runtime/memory/arena.h"
#include "kernels/runtime/runtime.h"
#include "model/transformer.h"

namespace memengine {

// The last training step's use of every bank. Waits for the device.
std::vector<BankUsage> step_usage(Runtime& runtime, Transformer& transformer);

// Sums the picks of many forward passes into a histogram a bank.
class UsageCounter {
 public:
  UsageCounter(Runtime& runtime, Transformer& transformer);

  // What that allocates.
  static std::int64_t planned_bytes(const Transformer& transformer);

  // Adds the picks of the forward pass of `tokens` tokens just made.
  void count(std::int64_t tokens);

  // Over all counted passes: unique_rows is the number of rows ever picked.
  std::vector<BankUsage> result();

 private:
  Runtime& runtime_;
  Transformer& transformer_;
  std::vector<Arena> arenas_;
  std::vector<Tensor> histograms_;  // i32 [rows] a bank
};

}  // namespace memengine
