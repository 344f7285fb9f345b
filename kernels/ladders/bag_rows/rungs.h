// A ladder to the gradient of the rows that bags were summed from
// (embedding_bag_backward_rows() in kernels/bag/embedding_bag.h), from the obvious way on.
//
//     as_they_come    every pick adds its share to its row, in the order of the picks
//     row_per_worker  each distinct row sums its own picks
//     chunks          (CUDA; the CPU's last rung does it) every 64 sorted picks are one worker's,
//                     and what is left over at their ends is added afterwards
//
// row_gradients [capacity, V] f32: row u = sum over its picks p of coefficients[p] *
// vectors[p / K]; rows past unique.count are zero or left as they are. coefficients [N, K] and
// vectors [N, V], in FP32 on the CPU and in BF16 on CUDA. `unique` of the N K picks, with inverse,
// order, offsets and places.
#pragma once

#include "kernels/table/deduplicate.h"

namespace memengine::ladders {

// On CUDA in no fixed order: the last digits are others in every run.
void as_they_come(const Context& context, Tensor row_gradients, Tensor coefficients, Tensor vectors,
                  const UniqueRows& unique);
void row_per_worker(const Context& context, Tensor row_gradients, Tensor coefficients,
                    Tensor vectors, const UniqueRows& unique);

namespace cuda {
decltype(ladders::as_they_come) as_they_come;
decltype(ladders::row_per_worker) row_per_worker;
void chunks(const Context& context, Tensor row_gradients, Tensor coefficients, Tensor vectors,
            const UniqueRows& unique);
}  // namespace cuda

inline constexpr int chunk_picks = 64;

inline std::int64_t chunks_scratch_bytes(std::int64_t picks, std::int64_t columns) {
  return scratch_part<float>((picks + chunk_picks - 1) / chunk_picks * columns);
}

}  // namespace memengine::ladders
