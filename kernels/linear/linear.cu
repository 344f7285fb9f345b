// Linear layer on CUDA: three matrix products, one per direction. The bias rides in the product's
// epilogue when it is in the output's dtype. Weight gradients come out of BF16 activations in f32,
// and the second and later ones of a step are added to what is there (beta = 1), so that no
// rounding is lost over gradient accumulation.
#include "kernels/linear/linear.h"

#include "kernels/column_sums.cuh"
#include "kernels/linear/few_rows.cuh"
#include "kernels/linear/gemm.cuh"
#include "kernels/runtime/runtime_cuda.h"

namespace memengine::cuda {
namespace {

template <typename T, int width>
__global__ void __launch_bounds__(warp_size* slab_warps)
    column_sums_kernel(float* partials, const T* x, std::int64_t rows, std::int64_t columns) {
  const std::int64_t column = slab_column<width>();
  sum_slab<1, width>(partials, rows, columns, [&](std::int64_t row, float(&sum)[1][width]) {
    float values[width];
    load(x + row * columns + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) sum[0][i] += values[i];
  });
}

template <typename T>
void launch_bias_gradient(const Context& context, Tensor dbias, const Matrix& dout) {
  const std::int64_t slabs = slab_count(dout.rows);
  auto* partials = Scratch(context).take<float>(slabs * dout.columns);
  const auto launch = [&]<int width>() {
    column_sums_kernel<T, width>
        <<<slab_grid(dout.rows, dout.columns, width), slab_block(), 0, context.stream>>>(
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
    add_bias_kernel(T* out, Parameters<bfloat16> bias, std::int64_t size, std::int64_t columns) {
  const std::int64_t i = std::int64_t{blockIdx.x} * bias_threads + threadIdx.x;
  if (i >= size) return;
  float x[1];
  load(out + i, x);
  float addend[1];
  bias.load(i % columns, addend);
  x[0] += addend[0];
  store(out + i, x);
}

}  // namespace

void linear_forward(const Context& context, Tensor out, Tensor x, Tensor weight, Tensor bias) {
  if (has_few_rows(context, out, x, weight)) {
    few_rows_forward(context, out, x, weight, bias);
    return;
  }
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
                      context.stream>>>(out.as<T>(), parameters_of<bfloat16>(bias), out.size(),
                                        outputs);
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
                            Tensor x, bool accumulate) {
  const std::int64_t inputs = dweight.dim(1);
  const Matrix dout_matrix = matrix_of(dout, dweight.dim(0));
  if (dout_matrix.rows == 0) {
    if (!accumulate) cuda::fill_zero(context, dweight);
    return;
  }
  GemmOptions options;
  options.transpose_a = true;
  options.accumulate = accumulate;
  gemm(context, matrix_of(dweight, inputs), dout_matrix, matrix_of(x, inputs), options);
  if (dbias.empty()) return;
  dispatch_storage("linear_backward_weight", dout.dtype(),
                   [&]<typename T>() { launch_bias_gradient<T>(context, dbias, dout_matrix); });
}

std::int64_t linear_scratch_bytes(std::int64_t rows, std::int64_t outputs) {
  return scratch_part<float>(slab_count(rows) * outputs);
}

}  // namespace memengine::cuda
