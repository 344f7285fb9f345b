// Linear layer on CUDA: three matrix products, one a direction. The bias rides in the product's
// epilogue when it is in the output's dtype. Weight gradients come out of BF16 activations in f32
// and are added to what is there (beta = 1), so that no rounding is lost over gradient
// accumulation.
#include "kernels/linear.h"

#include "kernels/device_math.cuh"
#include "kernels/gemm.cuh"

namespace memengine::cuda {
namespace {

constexpr int warps = 8;
constexpr std::int64_t rows_per_slab = 64;

// Rows of the partial column sums.
std::int64_t slab_count(std::int64_t rows) {
  return std::clamp<std::int64_t>(ceil_divide(rows, rows_per_slab), 1, max_partials);
}

// partials [slabs, columns]: block (tile, slab) sums the slab's rows of 32 * width columns. A warp
// takes every eighth row; the eight warps add up in shared memory.
template <typename T, int width>
__global__ void __launch_bounds__(warp_size* warps)
    column_sums_kernel(float* partials, const T* x, std::int64_t rows, std::int64_t columns) {
  __shared__ float of_warp[warps][width][warp_size];
  const int lane = static_cast<int>(threadIdx.x);
  const int warp = static_cast<int>(threadIdx.y);
  const std::int64_t column = (std::int64_t{blockIdx.x} * warp_size + lane) * width;
  const std::int64_t first = rows * blockIdx.y / gridDim.y;
  const std::int64_t last = rows * (blockIdx.y + 1) / gridDim.y;

  float sum[width] = {};
  if (column < columns) {
#pragma unroll 4
    for (std::int64_t row = first + warp; row < last; row += warps) {
      float values[width];
      load(x + row * columns + column, values);
#pragma unroll
      for (int i = 0; i < width; ++i) sum[i] += values[i];
    }
  }
#pragma unroll
  for (int i = 0; i < width; ++i) of_warp[warp][i][lane] = sum[i];
  __syncthreads();
  if (warp != 0 || column >= columns) return;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    sum[i] = 0;
#pragma unroll
    for (int w = 0; w < warps; ++w) sum[i] += of_warp[w][i][lane];
  }
  store(partials + blockIdx.y * columns + column, sum);
}

template <typename T>
void launch_bias_gradient(const Context& context, Tensor dbias, const Matrix& dout) {
  const std::int64_t slabs = slab_count(dout.rows);
  auto* partials = Scratch(context).take<float>(slabs * dout.columns);
  const auto launch = [&]<int width>() {
    const dim3 grid(grid_size(ceil_divide(dout.columns, std::int64_t{warp_size} * width)),
                    static_cast<unsigned>(slabs));
    column_sums_kernel<T, width><<<grid, dim3(warp_size, warps), 0, context.stream>>>(
        partials, static_cast<const T*>(dout.data), dout.rows, dout.columns);
    MEMENGINE_LAUNCH_CHECK("linear_backward_weight (bias)");
  };
  if (in_vectors<T>(dout.columns, {dout.data}))
    launch.template operator()<vector_width<T>>();
  else
    launch.template operator()<1>();
  add_partial_rows(context, dbias.as<float>(), partials, slabs, dout.columns);
}

constexpr int bias_threads = 256;

// out [rows, columns] += bias, for a bias in another dtype than the output.
template <typename T>
__global__ void __launch_bounds__(bias_threads)
    add_bias_kernel(T* out, const float* bias, std::int64_t size, std::int64_t columns) {
  const std::int64_t i = std::int64_t{blockIdx.x} * bias_threads + threadIdx.x;
  if (i >= size) return;
  float x[1];
  load(out + i, x);
  x[0] += bias[i % columns];
  store(out + i, x);
}

}  // namespace

void linear_forward(const Context& context, Tensor out, Tensor x, Tensor weight, Tensor bias) {
  GemmOptions options;
  options.transpose_b = true;
  const bool in_epilogue = !bias.empty() && bias.dtype() == out.dtype();
  if (in_epilogue) options.bias = bias.data();
  const std::int64_t outputs = weight.dim(0);
  const std::int64_t inputs = weight.dim(1);
  gemm(context, matrix_of(out, outputs), matrix_of(x, inputs), matrix_of(weight, inputs), options);
  if (bias.empty() || in_epilogue || out.size() == 0) return;
  dispatch_storage("linear_forward", out.dtype(), [&]<typename T>() {
    add_bias_kernel<<<grid_size(ceil_divide(out.size(), bias_threads)), bias_threads, 0,
                      context.stream>>>(out.as<T>(), bias.as<float>(), out.size(), outputs);
  });
  MEMENGINE_LAUNCH_CHECK("linear_forward (bias)");
}

void linear_backward_input(const Context& context, Tensor dx, Tensor dout, Tensor weight,
                           bool accumulate) {
  GemmOptions options;
  options.accumulate = accumulate;
  const std::int64_t outputs = weight.dim(0);
  const std::int64_t inputs = weight.dim(1);
  gemm(context, matrix_of(dx, inputs), matrix_of(dout, outputs), matrix_of(weight, inputs),
       options);
}

void linear_backward_weight(const Context& context, Tensor dweight, Tensor dbias, Tensor dout,
                            Tensor x) {
  const std::int64_t inputs = dweight.dim(1);
  const Matrix dout_matrix = matrix_of(dout, dweight.dim(0));
  if (dout_matrix.rows == 0) return;
  GemmOptions options;
  options.transpose_a = true;
  options.accumulate = true;
  gemm(context, matrix_of(dweight, inputs), dout_matrix, matrix_of(x, inputs), options);
  if (dbias.empty()) return;
  dispatch_storage("linear_backward_weight", dout.dtype(),
                   [&]<typename T>() { launch_bias_gradient<T>(context, dbias, dout_matrix); });
}

std::int64_t linear_scratch_bytes(std::int64_t rows, std::int64_t outputs) {
  return scratch_part<float>(slab_count(rows) * outputs);
}

}  // namespace memengine::cuda
