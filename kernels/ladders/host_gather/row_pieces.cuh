// Row copies of the first two rungs, 16 bytes per thread.
#pragma once

#include "kernels/device_math.cuh"
#include "kernels/ladders/host_gather/rungs.h"

namespace memengine::ladders::cuda {

inline constexpr int copying_threads = 256;

inline std::int64_t pieces_of_row(const ValueRows& table) {
  if (table.v_dim() % 8 != 0) fail_internal("a rung takes rows in pieces of 8 numbers");
  return table.v_dim() / 8;
}

// Piece i of out, in which row number i / pieces is table row `row`.
__device__ __forceinline__ void copy_piece(uint4* out, const uint4* table, std::int64_t i,
                                           std::int64_t row, std::int64_t pieces) {
  out[i] = table[row * pieces + i % pieces];
}

}  // namespace memengine::ladders::cuda
