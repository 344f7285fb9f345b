// Products of FP32 matrices with sums in double, for evaluation to the last digit.
//
// A product of two floats is exact in double, and a sum of such products is off by 1e-16 or so; so
// an element of the result is the true one, rounded once. Sums in FP32 lose 1e-7 of a logit here
// and there, which the 600 tokens of a long text add up to 1e-4 of its log-likelihood.
//
// Tensor cores multiply doubles too (mma m8n8k4, 8 x 4 by 4 x 8; H100: at the rate of FP32
// elsewhere). A block of four warps computes a tile of 64 x 64, a warp 32 x 32 of it. Pieces of 16
// columns of a and b go through shared memory, turned into doubles on their way; the next piece
// is fetched while this one is multiplied. Lane l holds, with r = l / 4 and c = l % 4,
//     A: (r, c)    B: (c, r)    C: (r, 2c), (r, 2c + 1)
// The 4 doubles of padding after a row of 16 put the 16 elements that half a warp reads at once
// into different banks.
#include "kernels/device_math.cuh"
#include "kernels/linear/gemm.cuh"

namespace memengine::cuda {
namespace {

constexpr int product_threads = 128;
constexpr int tile = 64;       // rows and columns of a block's part of the result
constexpr int warp_tile = 32;  // of a warp's
constexpr int fragments = warp_tile / 8;
constexpr int depth = 16;  // of a piece
constexpr int pitch = depth + 4;
constexpr int fetched = tile * depth / product_threads;  // elements of a piece that a thread brings

// What is multiplied: element (row, k) of a, or (k, row) of b.
struct Factor {
  const float* data;
  std::int64_t rows;
  std::int64_t row_step, k_step;  // elements to the next row, to the next k
  std::int64_t matrix_distance;

  // Elements [first .., k ..] of a tile x depth piece, zeros beyond the matrix.
  __device__ void fetch(float (&piece)[fetched], std::int64_t first, std::int64_t k,
                        std::int64_t inner) const {
    const std::int64_t column = k + threadIdx.x % depth;
    const float* matrix = data + blockIdx.z * matrix_distance + column * k_step;
#pragma unroll
    for (int i = 0; i < fetched; ++i) {
      const std::int64_t row = first + threadIdx.x / depth + i * (product_threads / depth);
      piece[i] = row < rows && column < inner ? matrix[row * row_step] : 0.0F;
    }
  }
};

__device__ inline void keep(double* shared, const float (&piece)[fetched]) {
#pragma unroll
  for (int i = 0; i < fetched; ++i) {
    const int row = static_cast<int>(threadIdx.x) / depth + i * (product_threads / depth);
    shared[row * pitch + threadIdx.x % depth] = piece[i];
  }
}

__device__ inline void multiply_add(double (&c)[2], double a, double b) {
  asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
      : "+d"(c[0]), "+d"(c[1])
      : "d"(a), "d"(b));
}

__global__ void __launch_bounds__(product_threads)
    gemm_in_double_kernel(float* out, std::int64_t out_row_distance,
                          std::int64_t out_matrix_distance, Factor a, Factor b, std::int64_t inner,
                          const float* bias, bool accumulate) {
  __shared__ double left[tile * pitch];
  __shared__ double right[tile * pitch];
  const std::int64_t first_row = std::int64_t{blockIdx.x} * tile;
  const std::int64_t first_column = std::int64_t{blockIdx.y} * tile;
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  const int r = static_cast<int>(threadIdx.x) % warp_size / 4;
  const int c = static_cast<int>(threadIdx.x) % 4;
  const int warp_row = warp / 2 * warp_tile;
  const int warp_column = warp % 2 * warp_tile;

  double sums[fragments][fragments][2] = {};
  float next_left[fetched];
  float next_right[fetched];
  a.fetch(next_left, first_row, 0, inner);
  b.fetch(next_right, first_column, 0, inner);
  for (std::int64_t k = 0; k < inner; k += depth) {
    __syncthreads();  // nobody reads the piece before any more
    keep(left, next_left);
    keep(right, next_right);
    __syncthreads();
    if (k + depth < inner) {
      a.fetch(next_left, first_row, k + depth, inner);
      b.fetch(next_right, first_column, k + depth, inner);
    }
#pragma unroll
    for (int step = 0; step < depth; step += 4) {
      double x[fragments];
      double y[fragments];
#pragma unroll
      for (int i = 0; i < fragments; ++i) {
        x[i] = left[(warp_row + i * 8 + r) * pitch + step + c];
        y[i] = right[(warp_column + i * 8 + r) * pitch + step + c];
      }
#pragma unroll
      for (int m = 0; m < fragments; ++m)
#pragma unroll
        for (int n = 0; n < fragments; ++n) multiply_add(sums[m][n], x[m], y[n]);
    }
  }

  out += blockIdx.z * out_matrix_distance;
#pragma unroll
  for (int m = 0; m < fragments; ++m)
#pragma unroll
    for (int n = 0; n < fragments; ++n)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const std::int64_t row = first_row + warp_row + m * 8 + r;
        const std::int64_t column = first_column + warp_column + n * 8 + c * 2 + i;
        if (row >= a.rows || column >= b.rows) continue;
        float* const place = out + row * out_row_distance + column;
        double sum = sums[m][n][i];
        if (bias != nullptr) sum += bias[column];
        if (accumulate) sum += *place;
        *place = static_cast<float>(sum);
      }
}

}  // namespace

void gemm_in_double(const Context& context, const Matrix& out, const Matrix& a, const Matrix& b,
                    const GemmOptions& options) {
  const auto factor = [](const Matrix& matrix, std::int64_t rows, bool k_along_rows) {
    return Factor{.data = static_cast<const float*>(matrix.data),
                  .rows = rows,
                  .row_step = k_along_rows ? matrix.row_distance : 1,
                  .k_step = k_along_rows ? 1 : matrix.row_distance,
                  .matrix_distance = matrix.matrix_distance};
  };
  const dim3 grid(grid_size(ceil_divide(out.rows, tile)), grid_size(ceil_divide(out.columns, tile)),
                  static_cast<unsigned>(options.batch));
  gemm_in_double_kernel<<<grid, product_threads, 0, context.stream>>>(
      static_cast<float*>(out.data), out.row_distance, out.matrix_distance,
      factor(a, out.rows, !options.transpose_a), factor(b, out.columns, options.transpose_b),
      options.transpose_a ? a.rows : a.columns, static_cast<const float*>(options.bias),
      options.accumulate);
  MEMENGINE_LAUNCH_CHECK("gemm_in_double");
}

}  // namespace memengine::cuda
