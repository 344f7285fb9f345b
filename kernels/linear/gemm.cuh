// Matrix products on CUDA, through cuBLASLt.
//
// cuBLASLt thinks in column-major matrices. A row-major [rows, columns] matrix is a column-major
// [columns, rows] one, so out = a b is asked for as out^T = b^T a^T, with nothing moved.
//
// Which algorithm serves a shape is looked up once, or measured (measured/measured.h), and
// remembered (thread-safe), so a step does no search. Split-K sums go through the workspace in FP32
// in a fixed order, never in place; with the algorithm remembered per shape, results are the same
// at every run.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine::cuda {

// A row-major matrix in device memory, or `batch` of them. Distances count elements.
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t row_distance = 0;     // from one row to the next: at least `columns`
  std::int64_t matrix_distance = 0;  // from one matrix of the batch to the next
};

// All elements of the tensor, cut into rows of `columns`.
Matrix matrix_of(Tensor tensor, std::int64_t columns);

struct GemmOptions {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;     // out += instead of out =
  const void* bias = nullptr;  // [out.columns] in out's dtype, added to every row
  std::int64_t batch = 1;      // products out[i] = a[i] b[i]
};

// out = op(a) op(b) (+ out) (+ bias), op(x) = x or x^T. a and b share one dtype, f32 or bf16; out
// is f32 or bf16. Sums in FP32; products of f32 are exact unless context.allow_tf32, and their sums
// in double with context.sums_in_double. Uses context.gemm_workspace. Errors: internal, when
// cuBLASLt has no algorithm for the operands.
void gemm(const Context& context, const Matrix& out, const Matrix& a, const Matrix& b,
          const GemmOptions& options);

// The same for f32 alone, with sums in double (gemm_in_double.cu, not cuBLASLt).
void gemm_in_double(const Context& context, const Matrix& out, const Matrix& a, const Matrix& b,
                    const GemmOptions& options);

}  // namespace memengine::cuda
