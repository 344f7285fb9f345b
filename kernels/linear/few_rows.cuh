// Products of a few rows with a weight matrix: what decoding does (few_rows.cu).
#pragma once

#include "kernels/runtime/context.h"

namespace memengine::cuda {

inline constexpr std::int64_t most_few_rows = 16;

// Whether few_rows_forward takes a product of these operands: 1 to 16 rows, f32 or BF16, inputs in
// pieces of 16 bytes. Sums that are asked for in double it leaves to the general path.
bool has_few_rows(const Context& context, const Tensor& out, const Tensor& x, const Tensor& weight);

// out [M, O] = x [M, I] weight [O, I]^T + bias [O], sums in FP32; as linear_forward (linear.h).
void few_rows_forward(const Context& context, Tensor out, Tensor x, Tensor weight, Tensor bias);

}  // namespace memengine::cuda
