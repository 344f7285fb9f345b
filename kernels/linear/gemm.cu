// Matrix products through cuBLASLt: descriptors on the stack, algorithms from a cache.
#include "kernels/linear/gemm.cuh"

#include <array>
#include <bit>
#include <map>
#include <mutex>

#include "kernels/linear/measured/fastest.cuh"
#include "kernels/linear/measured/measured.h"
#include "kernels/runtime/cuda_check.h"

namespace memengine::cuda {
namespace {

cudaDataType_t library_dtype(DType dtype) {
  if (dtype == DType::f32) return CUDA_R_32F;
  if (dtype == DType::bf16) return CUDA_R_16BF;
  fail_internal("a matrix product on CUDA works on f32 or bf16, not {}", dtype_name(dtype));
}

// The largest power of two that divides the address, at most 256.
std::uint32_t alignment(const void* address) {
  return 1U << std::countr_zero(reinterpret_cast<std::uintptr_t>(address) | 256U);
}

// Below, the launch is what takes the time.
constexpr double worth_measuring = 5e9;  // operations

using Key = std::array<std::int64_t, 23>;

// One product as cuBLASLt sees it: `first` is our b, `second` our a.
struct Problem {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t first, second, out;
};

template <typename Value>
void set(cublasLtMatmulDescOpaque_t* operation, cublasLtMatmulDescAttributes_t attribute,
         Value value) {
  MEMENGINE_CUBLAS_CHECK(
      cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof(value)));
}

template <typename Value>
void set(cublasLtMatmulPreferenceOpaque_t* preference,
         cublasLtMatmulPreferenceAttributes_t attribute, Value value) {
  MEMENGINE_CUBLAS_CHECK(
      cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
}

void describe(cublasLtMatrixLayoutOpaque_t* layout, const Matrix& matrix, std::int64_t batch) {
  MEMENGINE_CUBLAS_CHECK(cublasLtMatrixLayoutInit(
      layout, library_dtype(matrix.dtype), static_cast<std::uint64_t>(matrix.columns),
      static_cast<std::uint64_t>(matrix.rows), matrix.row_distance));
  if (batch == 1) return;
  const auto count = static_cast<std::int32_t>(batch);
  MEMENGINE_CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(
      layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)));
  MEMENGINE_CUBLAS_CHECK(
      cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                       &matrix.matrix_distance, sizeof(matrix.matrix_distance)));
}

std::size_t workspace_bytes(const Context& context) {
  return context.gemm_workspace.empty() ? 0
                                        : static_cast<std::size_t>(context.gemm_workspace.bytes());
}

constexpr int most_candidates = 8;

struct Candidates {
  cublasLtMatmulHeuristicResult_t results[most_candidates];
  int count;
};

// cuBLASLt's `most` first choices for a product, the best by its own estimate in front.
Candidates find_candidates(const Context& context, Problem& problem, const Matrix& out,
                           const Matrix& a, const Matrix& b, int most) {
  cublasLtMatmulPreferenceOpaque_t preference;
  MEMENGINE_CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
  set(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
      static_cast<std::uint64_t>(workspace_bytes(context)));
  set(&preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(b.data));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(a.data));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(out.data));
  set(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(out.data));
  Candidates found{};
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      context.cublaslt, &problem.operation, &problem.first, &problem.second, &problem.out,
      &problem.out, &preference, most, found.results, &found.count);
  if (status != CUBLAS_STATUS_SUCCESS || found.count == 0) {
    fail_internal("cuBLASLt has no algorithm for the product {} [{}, {}] = {} [{}, {}] x [{}, {}]",
                  dtype_name(out.dtype), out.rows, out.columns, dtype_name(a.dtype), a.rows,
                  a.columns, b.rows, b.columns);
  }
  return found;
}

cublasStatus_t multiply(const Context& context, Problem& problem, void* out, const void* a,
                        const void* b, bool accumulate, const cublasLtMatmulAlgo_t& algorithm) {
  const float one = 1.0F;
  const float beta = accumulate ? 1.0F : 0.0F;
  return cublasLtMatmul(context.cublaslt, &problem.operation, &one, b, &problem.first, a,
                        &problem.second, &beta, out, &problem.out, out, &problem.out, &algorithm,
                        context.gemm_workspace.data(), workspace_bytes(context), context.stream);
}

cublasLtMatmulAlgo_t search(const Context& context, Problem& problem, const Matrix& out,
                            const Matrix& a, const Matrix& b, const GemmOptions& options) {
  const double operations = 2.0 * static_cast<double>(out.rows * out.columns) *
                            static_cast<double>(options.transpose_a ? a.rows : a.columns);
  const bool measured = products_are_measured() && a.dtype == DType::bf16 && options.batch == 1 &&
                        out.row_distance == out.columns && operations >= worth_measuring;
  const cublasLtMatmulAlgo_t first =
      find_candidates(context, problem, out, a, b, 1).results[0].algo;
  if (!measured) return first;
  const Candidates more = find_candidates(context, problem, out, a, b, most_candidates);
  const auto algorithm = [&](std::size_t way) {
    return way == 0 ? first : more.results[way - 1].algo;
  };
  const std::size_t best = fastest_with_same_bits(
      context.stream, static_cast<std::size_t>(more.count) + 1,
      static_cast<std::size_t>(out.rows * out.columns * element_bytes(out.dtype)),
      [&](std::size_t way, void* result) {
        const cublasLtMatmulAlgo_t tried = algorithm(way);
        return multiply(context, problem, result, a.data, b.data, options.accumulate, tried) ==
               CUBLAS_STATUS_SUCCESS;
      });
  return algorithm(best);
}

cublasLtMatmulAlgo_t algorithm_for(const Context& context, Problem& problem, const Matrix& out,
                                   const Matrix& a, const Matrix& b, const GemmOptions& options) {
  static std::mutex mutex;
  static std::map<Key, cublasLtMatmulAlgo_t> known;
  const auto code = [](DType dtype) { return static_cast<std::int64_t>(dtype); };
  const Key key = {out.rows,
                   out.columns,
                   out.row_distance,
                   out.matrix_distance,
                   code(out.dtype),
                   alignment(out.data),
                   a.rows,
                   a.columns,
                   a.row_distance,
                   a.matrix_distance,
                   code(a.dtype),
                   alignment(a.data),
                   b.row_distance,
                   b.matrix_distance,
                   alignment(b.data),
                   options.transpose_a,
                   options.transpose_b,
                   options.accumulate,
                   options.bias == nullptr ? 0 : alignment(options.bias),
                   options.batch,
                   context.allow_tf32,
                   products_are_measured(),
                   static_cast<std::int64_t>(workspace_bytes(context))};
  const std::lock_guard lock(mutex);
  const auto place = known.find(key);
  if (place != known.end()) return place->second;
  return known.emplace(key, search(context, problem, out, a, b, options)).first->second;
}

}  // namespace

Matrix matrix_of(Tensor tensor, std::int64_t columns) {
  return {tensor.data(), tensor.dtype(), columns == 0 ? 0 : tensor.size() / columns,
          columns,       columns,        0};
}

void gemm(const Context& context, const Matrix& out, const Matrix& a, const Matrix& b,
          const GemmOptions& options) {
  const std::int64_t inner = options.transpose_a ? a.rows : a.columns;
  if ((options.transpose_a ? a.columns : a.rows) != out.rows ||
      (options.transpose_b ? b.rows : b.columns) != out.columns ||
      (options.transpose_b ? b.columns : b.rows) != inner || a.dtype != b.dtype) {
    fail_internal("a matrix product cannot be {} [{}, {}] = {} [{}, {}]{} x {} [{}, {}]{}",
                  dtype_name(out.dtype), out.rows, out.columns, dtype_name(a.dtype), a.rows,
                  a.columns, options.transpose_a ? "^T" : "", dtype_name(b.dtype), b.rows,
                  b.columns, options.transpose_b ? "^T" : "");
  }
  if (out.rows == 0 || out.columns == 0 || options.batch == 0) return;
  if (context.sums_in_double && a.dtype == DType::f32 && out.dtype == DType::f32) {
    gemm_in_double(context, out, a, b, options);
    return;
  }

  const bool tf32 = context.allow_tf32 && a.dtype == DType::f32;
  const auto operation_on = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  Problem problem;
  MEMENGINE_CUBLAS_CHECK(cublasLtMatmulDescInit(
      &problem.operation, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
  set(&problem.operation, CUBLASLT_MATMUL_DESC_TRANSA, operation_on(options.transpose_b));
  set(&problem.operation, CUBLASLT_MATMUL_DESC_TRANSB, operation_on(options.transpose_a));
  if (options.bias != nullptr) {
    set(&problem.operation, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(&problem.operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, library_dtype(out.dtype));
    set(&problem.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, options.bias);
  }
  describe(&problem.first, b, options.batch);
  describe(&problem.second, a, options.batch);
  describe(&problem.out, out, options.batch);

  const cublasLtMatmulAlgo_t algorithm = algorithm_for(context, problem, out, a, b, options);
  MEMENGINE_CUBLAS_CHECK(
      multiply(context, problem, out.data, a.data, b.data, options.accumulate, algorithm));
}

}  // namespace memengine::cuda
