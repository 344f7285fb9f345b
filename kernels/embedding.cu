// Token embedding on CUDA. Forward copies rows. Backward must add up the rows of equal tokens in a
// fixed order, without float atomics: sort (token, position) pairs (CUB's radix sort is stable),
// then give each run of equal tokens to one block, which adds its rows of dout in the order of N.
#include "kernels/embedding.h"

#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int embedding_threads = 256;

// What the sort may use besides its outputs: two more copies of keys and values, and digit counts.
std::int64_t sort_bytes(std::int64_t tokens) {
  return 16 * tokens + (std::int64_t{1} << 20);
}

// How a block of 256 threads covers rows: `across` pieces of one row, `down` rows.
struct RowShape {
  dim3 block;
  unsigned tiles;
};
RowShape row_shape(std::int64_t columns, int width) {
  const auto pieces = static_cast<std::uint64_t>(ceil_divide(columns, width));
  const auto across =
      static_cast<unsigned>(std::min<std::uint64_t>(std::bit_ceil(pieces), embedding_threads));
  return {dim3(across, embedding_threads / across),
          static_cast<unsigned>(ceil_divide(pieces, across))};
}

template <typename T, int width>
__global__ void __launch_bounds__(embedding_threads)
    forward_kernel(T* out, const std::int32_t* tokens, const T* weight, std::int64_t count,
                   std::int64_t columns) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const std::int64_t column = (std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * width;
  if (row >= count || column >= columns) return;
  const Pack<T, width> piece = load<width>(weight + tokens[row] * columns + column);
  *reinterpret_cast<Pack<T, width>*>(out + row * columns + column) = piece;
}

__global__ void __launch_bounds__(embedding_threads)
    iota_kernel(std::int32_t* out, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * embedding_threads + threadIdx.x;
  if (i < count) out[i] = static_cast<std::int32_t>(i);
}

// Block p works when sorted[p] is the first of its run: the run's rows of dout, `blockDim.y` at a
// time, then the sums of those groups in ascending order.
template <typename T, int width>
__global__ void __launch_bounds__(embedding_threads)
    backward_kernel(float* dweight, const T* dout, const std::uint32_t* sorted,
                    const std::int32_t* order, std::int64_t count, std::int64_t columns) {
  __shared__ std::int32_t source[embedding_threads];
  __shared__ float of_group[width][embedding_threads];
  const std::uint32_t token = sorted[blockIdx.x];
  if (blockIdx.x > 0 && sorted[blockIdx.x - 1] == token) return;
  const int member = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  const std::int64_t column = (std::int64_t{blockIdx.y} * blockDim.x + threadIdx.x) * width;

  float sum[width] = {};
  for (std::int64_t window = blockIdx.x;; window += embedding_threads) {
    const bool same = window + member < count && sorted[window + member] == token;
    if (same) source[member] = order[window + member];
    const int here = __syncthreads_count(same);
    if (column < columns) {
#pragma unroll 4
      for (int i = static_cast<int>(threadIdx.y); i < here; i += blockDim.y) {
        float values[width];
        load(dout + source[i] * columns + column, values);
#pragma unroll
        for (int j = 0; j < width; ++j) sum[j] += values[j];
      }
    }
    if (here < embedding_threads) break;
    __syncthreads();
  }

#pragma unroll
  for (int j = 0; j < width; ++j) of_group[j][member] = sum[j];
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  float* const total = dweight + token * columns + column;
  float values[width];
  load(total, values);
  for (unsigned group = 0; group < blockDim.y; ++group) {
#pragma unroll
    for (int j = 0; j < width; ++j) values[j] += of_group[j][group * blockDim.x + threadIdx.x];
  }
  store(total, values);
}

}  // namespace

void embedding_forward(const Context& context, Tensor out, Tensor tokens, Tensor weight) {
  const std::int64_t count = tokens.size();
  const std::int64_t columns = weight.dim(1);
  if (count == 0) return;
  dispatch_storage("embedding_forward", out.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width>() {
      const RowShape shape = row_shape(columns, width);
      const dim3 grid(grid_size(ceil_divide(count, shape.block.y)), shape.tiles);
      forward_kernel<T, width><<<grid, shape.block, 0, context.stream>>>(
          out.as<T>(), tokens.as<std::int32_t>(), weight.as<T>(), count, columns);
    };
    if (in_vectors<T>(columns, {out.data(), weight.data()}))
      launch.template operator()<vector_width<T>>();
    else
      launch.template operator()<1>();
  });
  MEMENGINE_LAUNCH_CHECK("embedding_forward");
}

void embedding_backward(const Context& context, Tensor dweight, Tensor dout, Tensor tokens) {
  const std::int64_t count = tokens.size();
  const std::int64_t columns = dweight.dim(1);
  if (count == 0) return;
  Scratch scratch(context);
  auto* sorted = scratch.take<std::uint32_t>(count);
  auto* positions = scratch.take<std::int32_t>(count);
  auto* order = scratch.take<std::int32_t>(count);
  auto available = static_cast<std::size_t>(sort_bytes(count));
  void* const sort_scratch = scratch.take_bytes(sort_bytes(count));

  iota_kernel<<<grid_size(ceil_divide(count, embedding_threads)), embedding_threads, 0,
                context.stream>>>(positions, count);
  MEMENGINE_LAUNCH_CHECK("embedding_backward (positions)");
  const int bits = std::bit_width(static_cast<std::uint64_t>(dweight.dim(0)));
  MEMENGINE_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(
      sort_scratch, available, reinterpret_cast<const std::uint32_t*>(tokens.as<std::int32_t>()),
      sorted, positions, order, static_cast<int>(count), 0, bits, context.stream));

  dispatch_storage("embedding_backward", dout.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width>() {
      const RowShape shape = row_shape(columns, width);
      backward_kernel<T, width>
          <<<dim3(grid_size(count), shape.tiles), shape.block, 0, context.stream>>>(
              dweight.as<float>(), dout.as<T>(), sorted, order, count, columns);
    };
    if (in_vectors<T>(columns, {dweight.data(), dout.data()}))
      launch.template operator()<vector_width<T>>();
    else
      launch.template operator()<1>();
  });
  MEMENGINE_LAUNCH_CHECK("embedding_backward");
}

std::int64_t embedding_scratch_bytes(std::int64_t tokens, std::int64_t /*vocabulary*/) {
  return 3 * scratch_part<std::int32_t>(tokens) + scratch_part<std::byte>(sort_bytes(tokens));
}

}  // namespace memengine::cuda
