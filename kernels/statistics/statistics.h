// What a tensor's numbers look like, in one pass over it: for looking into a model in training.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// The numbers of an `out` below, in its order.
inline constexpr std::int64_t statistics_count = 4;

// out [4] f64, overwritten = sum, sum of squares, largest absolute value, number of zeros of all
// elements of x (the activations' dtype, any shape). One NaN in x makes the first three NaN. Sums
// are in double and in a fixed order.
void statistics(const Context& context, Tensor out, Tensor x);

// The same of the entropies of the rows of p [R, K], in nats: -sum of p ln p over a row, where
// 0 ln 0 = 0. p in the activations' dtype, not negative; rows that add up to 1 have entropies from
// 0 (one element is all) to ln K (all are equal).
void entropy_statistics(const Context& context, Tensor out, Tensor p);

std::int64_t statistics_scratch_bytes(Device device, std::int64_t elements);

namespace cuda {
decltype(memengine::statistics) statistics;
decltype(memengine::entropy_statistics) entropy_statistics;
std::int64_t statistics_scratch_bytes(std::int64_t elements);
}  // namespace cuda

}  // namespace memengine
