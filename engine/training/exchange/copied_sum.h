// Sums over ranks that read one another's memory, carried by copies.
//
// A kernel that sends and adds up takes multiprocessors from the backward pass for as long as the
// links need. Here the copy engines carry, and each rank adds up one part of what is summed:
//
//     meet | copy my part of the others' | add up, in the order of ranks | meet | copy the others'
//          | into scratch memory         | (a short kernel)              |      | summed parts
//
// Bits do not depend on who adds up: each number is a sum in the order of ranks, rounded once, as
// between CPUs (Communicator::all_reduce_sum).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/runtime/communicator.h"
#include "kernels/runtime/memory/arena.h"

namespace memengine {

class CopiedSum {
 public:
  // All ranks together. `block` [n] (f32; f64 on the CPU) lies in shared memory at as long a place
  // on every rank; it and `ranks` outlive this. Null where the ranks have no rendezvous().
  static std::unique_ptr<CopiedSum> make(Communicator& ranks, Device device, Tensor block,
                                         std::int64_t piece_bytes = default_piece_bytes);

  // Scratch memory for a block of `bytes`, for the plan.
  static std::int64_t planned_bytes(std::int64_t bytes, std::int64_t ranks,
                                    std::int64_t piece_bytes = default_piece_bytes);

  // block[first, first + count) = its sum over the ranks, who make the same calls.
  void sum(const Context& context, std::int64_t first, std::int64_t count);
  // After the last sum before the block is written again: when this is through, nobody reads this
  // rank's block any more.
  void end(const Context& context);

 private:
  static constexpr std::int64_t default_piece_bytes = std::int64_t{64} << 20;

  CopiedSum(Communicator& ranks, std::unique_ptr<Rendezvous> rendezvous, Device device,
            Tensor block, std::int64_t piece_bytes);
  void sum_piece(const Context& context, std::int64_t first, std::int64_t count);

  Communicator& ranks_;
  std::unique_ptr<Rendezvous> rendezvous_;
  Tensor block_;
  std::int64_t piece_;         // elements
  std::vector<void*> blocks_;  // of each rank
  Arena memory_;
  Tensor others_;  // [ranks - 1, part of a piece]
};

}  // namespace memengine
