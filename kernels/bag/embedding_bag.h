// Weighted sums of table rows, one bag a token, and the two gradients.
//
//     out[n] = sum_k weights[n, k] * rows[inverse[n, k]]          K = H * knn picks a token
//
// rows [U, V] are the gathered distinct rows; inverse [N, K] i32 says which of them a pick means.
// The gradient of the rows is a segmented reduction over the picks sorted by row
// (UniqueRows::order, offsets): each row sums its own picks in a fixed order, so there are no float
// atomics and the result is the same every time, from rows picked once to rows picked thousands of
// times.
#pragma once

#include "kernels/runtime/context.h"
#include "kernels/table/deduplicate.h"

namespace memengine {

// out [N, V] overwritten. rows [*, V], weights [N, K], out: one dtype. inverse [N, K] i32.
void embedding_bag_forward(const Context& context, Tensor out, Tensor rows, Tensor inverse,
                           Tensor weights);

// dweights [N, K] = dot(dout[n], rows[inverse[n, k]]), overwritten.
void embedding_bag_backward_weights(const Context& context, Tensor dweights, Tensor dout,
                                    Tensor rows, Tensor inverse);

// row_gradients [capacity, V] (f32 for bf16, else the activations' dtype):
// row u = sum over its picks p of coefficients[p] * vectors[p / K], for u < count; rows past count
// are left as they are. coefficients [N, K], vectors [N, V].
// Several readers of one table are one call: their picks, coefficients and vectors stand one behind
// the other, as if they were more tokens.
void embedding_bag_backward_rows(const Context& context, Tensor row_gradients, Tensor coefficients,
                                 Tensor vectors, const UniqueRows& unique);

std::int64_t embedding_bag_scratch_bytes(Device device, std::int64_t picks, std::int64_t v_dim);

namespace cuda {
decltype(memengine::embedding_bag_forward) embedding_bag_forward;
decltype(memengine::embedding_bag_backward_weights) embedding_bag_backward_weights;
decltype(memengine::embedding_bag_backward_rows) embedding_bag_backward_rows;
std::int64_t embedding_bag_scratch_bytes(std::int64_t picks, std::int64_t v_dim);
}  // namespace cuda

}  // namespace memengine
