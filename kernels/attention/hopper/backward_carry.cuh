// The way of dQ to global memory, in the backward pass (backward.cu): one thread for each of a
// tile's two parts.
//
// dQ of a query tile is the sum over all key blocks. To be the same every time, blocks add in the
// fixed order of their units: the thread waits for its block's turn (a counter for each part), lets
// TMA add the part to global memory, and passes the turn on. Units are dealt in that order too, and
// walk queries upwards: when block n comes to tile m, block n + 1 has just left it, so nobody waits
// long; and nobody waits for a block that has not started.
#pragma once

#include "kernels/attention/hopper/backward_work.cuh"

namespace memengine::cuda::hopper::backward {

__device__ inline int turn_of(const int* turn) {
  int value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(turn) : "memory");
  return value;
}
__device__ inline void pass_turn(int* turn, int value) {
  asm volatile("fence.proxy.async;" ::: "memory");
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(turn), "r"(value) : "memory");
}

// `half`: which of a tile's parts, queries or columns.
template <int head_dim>
__device__ void carry_query_gradients(Shared<head_dim>& shared, const Arguments& a, int half) {
  constexpr int slots = units_at_once(head_dim), bytes = part_bytes(head_dim);
  const int parts = a.scratch.tiles * (tile / query_rows(head_dim)) * 2;  // of a head
  int count = 0;
  for (int item = 0;; ++item) {
    const int slot = item % slots;
    shared.keys_there[slot].wait(item / slots % 2);
    const int unit = shared.unit[slot];
    if (unit >= a.units) return;
    shared.keys_used[slot].arrive();
    const Work<head_dim> work(a, unit);
    work.for_each_tile([&](int head, int query_tile) {
      const std::int64_t part =
          (std::int64_t{work.sequence} * a.problem.heads + head) * parts + query_tile * 2 + half;
      const int turn = work.turn(a.problem, query_tile);
      while (turn_of(a.scratch.turns + part) != turn) {
      }
      shared.dquery_there[half].wait(count % 2);
      float* sum = a.scratch.dquery + part * part_floats(head_dim);
      if (turn == 0)
        store_bytes(sum, shared.dquery[half], bytes);
      else
        add_floats(sum, shared.dquery[half], bytes);
      commit_stores();
      wait_stores_read();
      shared.dquery_gone[half].arrive();
      wait_stores_written();
      pass_turn(a.scratch.turns + part, turn + 1);
      ++count;
    });
  }
}

}  // namespace memengine::cuda::hopper::backward
