// Weighted sums of table rows, one bag per token, and the two gradients.
//
//     out[n] = sum_k weights[n, k] * rows[indices[n, k]]          K = H * knn picks per token
//
// The rows are gathered ones, and `indices` is UniqueRows::inverse; or they lie in the table, and
// `indices` is the picks themselves (bag_rows.h).
// The gradient of the rows is a segmented reduction over the picks sorted by row
// (UniqueRows::order, places): each row sums its own picks in a fixed order, so there are no float
// atomics and the result is the same every time, from rows picked once to rows picked thousands of
// times.
#pragma once

#include "kernels/bag/bag_rows.h"
#include "kernels/runtime/context.h"
#include "kernels/table/deduplicate.h"

namespace memengine {

// out [N, V] overwritten. weights [N, K] and out: one dtype. indices [N, K] i32.
void embedding_bag_forward(const Context& context, Tensor out, const BagRows& rows, Tensor indices,
                           Tensor weights);

// dweights [N, K] = dot(dout[n], rows[indices[n, k]]), overwritten.
void embedding_bag_backward_weights(const Context& context, Tensor dweights, Tensor dout,
                                    const BagRows& rows, Tensor indices);

// row_gradients [capacity, V] (f32 for bf16, else the activations' dtype):
// row u = sum over its picks p of coefficients[p] * vectors[p / K], for u < count; rows past count
// are left as they are. square_sum [1] f64 = the sum of the squares of those rows, which costs
// nothing here and a pass over them elsewhere. coefficients [N, K], vectors [N, V]. `unique` needs
// its order, offsets and places.
// Several readers of one table are one call: their picks, coefficients and vectors follow one
// another as if they were more tokens.
void embedding_bag_backward_rows(const Context& context, Tensor row_gradients, Tensor square_sum,
                                 Tensor coefficients, Tensor vectors, const UniqueRows& unique);

std::int64_t embedding_bag_scratch_bytes(Device device, std::int64_t picks, std::int64_t v_dim);

namespace cuda {
decltype(memengine::embedding_bag_forward) embedding_bag_forward;
decltype(memengine::embedding_bag_backward_weights) embedding_bag_backward_weights;
decltype(memengine::embedding_bag_backward_rows) embedding_bag_backward_rows;
std::int64_t embedding_bag_scratch_bytes(std::int64_t picks, std::int64_t v_dim);
}  // namespace cuda

}  // namespace memengine
