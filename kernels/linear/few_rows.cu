// y = x W^T + b for one to sixteen rows of x, at the speed of reading W.
//
// A product for one token does two operations with each weight that it reads: nothing but memory's
// rate counts, and a tile of a matrix product, made for 64 rows, leaves most of the GPU waiting.
// What counts is that all of W is asked for at once, in many small requests from many warps.
//
// BF16: a block takes 8 rows of W, and its eight warps take turns at pieces of 128 columns. The
// products are done by the tensor cores (mma.sync, 16 x 16 times 16 x 8), x on the left, so that
// sixteen rows of it cost no more than one. Which of 32 neighbouring columns meet in one product
// does not matter as long as W and x agree, so each lane takes eight neighbouring ones of its row,
// 16 bytes, and hands them to two products two words at a time: W goes from memory to the tensor
// cores without shared memory. The warps' sums are added in their order.
//
// FP32: a warp per row of W, in FMAs.
//
// A row's result does not depend on how many rows there are beside it: every sum has the same order
// for one row as for sixteen.
#include "kernels/linear/few_rows.cuh"

#include "kernels/attention/tensor_core.cuh"
#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

// --- BF16 ---

constexpr int warps = 8;            // of a block
constexpr int block_outputs = 8;    // rows of W
constexpr int piece_columns = 128;  // that a warp takes at a time, 32 per turn of its lanes
constexpr int column_turns = piece_columns / 32;

__device__ __forceinline__ uint4 load_words(const bfloat16* address, bool there) {
  return there ? *reinterpret_cast<const uint4*>(address) : make_uint4(0, 0, 0, 0);
}

// halves: 2 where x has more than 8 rows.
template <int halves>
__global__ void __launch_bounds__(warps* warp_size)
    few_rows_bf16_kernel(bfloat16* out, const bfloat16* x, const bfloat16* weight,
                         Parameters<bfloat16> bias, int rows, int outputs, int inputs) {
  __shared__ float sums[warps][8 * halves][block_outputs];
  const int warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const int r = lane / 4, c = lane % 4;
  const int first = blockIdx.x * block_outputs;
  const bfloat16* weights = weight + std::int64_t{min(first + r, outputs - 1)} * inputs;
  const bfloat16* row = x + std::int64_t{min(r, rows - 1)} * inputs;
  const bfloat16* low_row = x + std::int64_t{min(r + 8, rows - 1)} * inputs;
  float sum[4] = {};
  for (int begin = warp * piece_columns; begin < inputs; begin += warps * piece_columns) {
    uint4 w[column_turns], up[column_turns], low[column_turns];
#pragma unroll
    for (int turn = 0; turn < column_turns; ++turn) {
      const int column = begin + turn * 32 + c * 8;
      const bool there = column < inputs;
      w[turn] =
          there ? __ldcs(reinterpret_cast<const uint4*>(weights + column)) : make_uint4(0, 0, 0, 0);
      up[turn] = load_words(row + column, there && r < rows);
      low[turn] = load_words(low_row + column, halves == 2 && there && r + 8 < rows);
    }
#pragma unroll
    for (int turn = 0; turn < column_turns; ++turn) {
      mma_bf16(sum, {up[turn].x, low[turn].x, up[turn].y, low[turn].y}, {w[turn].x, w[turn].y});
      mma_bf16(sum, {up[turn].z, low[turn].z, up[turn].w, low[turn].w}, {w[turn].z, w[turn].w});
    }
  }
#pragma unroll
  for (int half = 0; half < halves; ++half) {
    sums[warp][r + 8 * half][2 * c] = sum[2 * half];
    sums[warp][r + 8 * half][2 * c + 1] = sum[2 * half + 1];
  }
  __syncthreads();
  const int out_row = threadIdx.x / block_outputs, output = threadIdx.x % block_outputs;
  if (out_row >= rows || first + output >= outputs) return;
  float total[1] = {};
#pragma unroll
  for (int w = 0; w < warps; ++w) total[0] += sums[w][out_row][output];
  if (bias.data != nullptr) {
    float addend[1];
    bias.load(first + output, addend);
    total[0] += addend[0];
  }
  store(out + std::int64_t{out_row} * outputs + first + output, total);
}

// --- FP32 ---

constexpr int f32_threads = 128;

// rows: of x, at least the true number.
template <int rows>
__global__ void __launch_bounds__(f32_threads)
    few_rows_f32_kernel(float* out, const float* x, const float* weight, const float* bias,
                        int true_rows, int outputs, int inputs) {
  constexpr int width = vector_width<float>;
  const int lane = threadIdx.x % warp_size;
  const int output = blockIdx.x * (f32_threads / warp_size) + threadIdx.x / warp_size;
  if (output >= outputs) return;
  const float* weights = weight + std::int64_t{output} * inputs;
  float sum[rows] = {};
#pragma unroll 4
  for (int column = lane * width; column < inputs; column += warp_size * width) {
    const Pack<float, width> w = load<width>(weights + column);
#pragma unroll
    for (int row = 0; row < rows; ++row) {
      const Pack<float, width> values =
          load<width>(x + std::int64_t{min(row, true_rows - 1)} * inputs + column);
#pragma unroll
      for (int i = 0; i < width; ++i) sum[row] = fmaf(values[i], w[i], sum[row]);
    }
  }
#pragma unroll
  for (int row = 0; row < rows; ++row) {
    const float total = warp_sum(sum[row]) + (bias != nullptr ? bias[output] : 0.0F);
    if (lane == 0 && row < true_rows) out[std::int64_t{row} * outputs + output] = total;
  }
}

}  // namespace

bool has_few_rows(const Context& context, const Tensor& out, const Tensor& x,
                  const Tensor& weight) {
  const std::int64_t outputs = weight.dim(0);
  const std::int64_t inputs = weight.dim(1);
  if (inputs == 0 || outputs == 0 || x.size() == 0 || x.size() > most_few_rows * inputs ||
      outputs > INT32_MAX || inputs > INT32_MAX || x.dtype() != weight.dtype() ||
      out.dtype() != x.dtype()) {
    return false;
  }
  if (x.dtype() == DType::f32) {
    return !context.sums_in_double && in_vectors<float>(inputs, {x.data(), weight.data()});
  }
  return x.dtype() == DType::bf16 && in_vectors<bfloat16>(inputs, {x.data(), weight.data()});
}

void few_rows_forward(const Context& context, Tensor out, Tensor x, Tensor weight, Tensor bias) {
  const auto outputs = static_cast<int>(weight.dim(0));
  const auto inputs = static_cast<int>(weight.dim(1));
  const int rows = static_cast<int>(x.size() / inputs);
  if (x.dtype() == DType::bf16) {
    const Parameters<bfloat16> addend =
        bias.empty() ? Parameters<bfloat16>{nullptr, true} : parameters_of<bfloat16>(bias);
    const auto launch = [&]<int halves>() {
      few_rows_bf16_kernel<halves>
          <<<grid_size(ceil_divide(outputs, block_outputs)), warps * warp_size, 0,
             context.stream>>>(out.as<bfloat16>(), x.as<const bfloat16>(),
                               weight.as<const bfloat16>(), addend, rows, outputs, inputs);
    };
    if (rows <= 8)
      launch.template operator()<1>();
    else
      launch.template operator()<2>();
  } else {
    const auto launch = [&]<int most>() {
      few_rows_f32_kernel<most><<<grid_size(ceil_divide(outputs, f32_threads / warp_size)),
                                  f32_threads, 0, context.stream>>>(
          out.as<float>(), x.as<const float>(), weight.as<const float>(),
          bias.empty() ? nullptr : bias.as<const float>(), rows, outputs, inputs);
    };
    if (rows == 1)
      launch.template operator()<1>();
    else if (rows <= 4)
      launch.template operator()<4>();
    else if (rows <= 8)
      launch.template operator()<8>();
    else
      launch.template operator()<16>();
  }
  MEMENGINE_LAUNCH_CHECK("linear_forward (few rows)");
}

}  // namespace memengine::cuda
