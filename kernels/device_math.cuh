// What the CUDA kernels of this folder share: 16-byte loads and stores, and sums in a fixed order.
//
// Kernels store FP32 or BF16 and compute in FP32. A thread moves 16 bytes at a time (four floats or
// eight BF16 numbers) where addresses and row lengths allow it, otherwise single elements: the
// kernels are templates on that `width`. Every sum has a fixed order (butterflies within a warp,
// then warps in ascending order; no float atomics), so results are the same at every run.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>

#include "kernels/runtime/bfloat16.h"
#include "kernels/runtime/context.h"
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/tensor.h"

namespace memengine::cuda {

inline constexpr int warp_size = 32;

// Elements of T in 16 bytes.
template <typename T>
inline constexpr int vector_width = 16 / static_cast<int>(sizeof(T));

// Calls body.template operator()<T>() with T = float or bfloat16.
template <typename Body>
void dispatch_storage(const char* op, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      body.template operator()<float>();
      return;
    case DType::bf16:
      body.template operator()<bfloat16>();
      return;
    default:
      fail_internal("{} on CUDA works on f32 or bf16, not {}", op, dtype_name(dtype));
  }
}

// True when rows of `columns` elements that start at these addresses can be cut in 16-byte pieces.
// Empty tensors count as aligned.
template <typename T>
bool in_vectors(std::int64_t columns, std::initializer_list<const void*> addresses) {
  if (columns % vector_width<T> != 0) return false;
  return std::all_of(addresses.begin(), addresses.end(), [](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
  });
}

constexpr std::int64_t ceil_divide(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

// A grid dimension; the first one holds up to 2^31 - 1 blocks.
inline unsigned grid_size(std::int64_t blocks) {
  if (blocks > 0x7fffffff) fail_internal("a CUDA grid of {} blocks is too large", blocks);
  return static_cast<unsigned>(blocks);
}

// `width` elements as they lie in memory: moved in one access, unpacked where they are used.
template <typename T, int width>
struct alignas(sizeof(T) * width) Pack {
  T element[width];

  __device__ float operator[](int i) const {
    if constexpr (sizeof(T) == 4)
      return element[i];
    else
      return to_float(element[i]);
  }
};

template <int width, typename T>
__device__ __forceinline__ Pack<T, width> load(const T* address) {
  Pack<T, width> pack;
  if constexpr (sizeof(T) * width == 16) {
    *reinterpret_cast<uint4*>(&pack) = *reinterpret_cast<const uint4*>(address);
  } else {
    pack = *reinterpret_cast<const Pack<T, width>*>(address);
  }
  return pack;
}

template <int width>
__device__ __forceinline__ void load(const float* address, float (&x)[width]) {
  if constexpr (width % 4 == 0) {
#pragma unroll
    for (int i = 0; i < width; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(address + i);
      x[i] = four.x;
      x[i + 1] = four.y;
      x[i + 2] = four.z;
      x[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < width; ++i) x[i] = address[i];
  }
}

template <int width>
__device__ __forceinline__ void load(const bfloat16* address, float (&x)[width]) {
  const Pack<bfloat16, width> pack = load<width>(address);
#pragma unroll
  for (int i = 0; i < width; ++i) x[i] = pack[i];
}

template <int width>
__device__ __forceinline__ void store(float* address, const float (&x)[width]) {
  if constexpr (width % 4 == 0) {
#pragma unroll
    for (int i = 0; i < width; i += 4) {
      *reinterpret_cast<float4*>(address + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
    }
  } else if constexpr (width == 2) {
    *reinterpret_cast<float2*>(address) = make_float2(x[0], x[1]);
  } else {
#pragma unroll
    for (int i = 0; i < width; ++i) address[i] = x[i];
  }
}

__device__ __forceinline__ std::uint32_t pack_bfloat16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

template <int width>
__device__ __forceinline__ void store(bfloat16* address, const float (&x)[width]) {
  if constexpr (width == 8) {
    *reinterpret_cast<uint4*>(address) =
        make_uint4(pack_bfloat16_pair(x[0], x[1]), pack_bfloat16_pair(x[2], x[3]),
                   pack_bfloat16_pair(x[4], x[5]), pack_bfloat16_pair(x[6], x[7]));
  } else if constexpr (width == 4) {
    *reinterpret_cast<uint2*>(address) =
        make_uint2(pack_bfloat16_pair(x[0], x[1]), pack_bfloat16_pair(x[2], x[3]));
  } else if constexpr (width == 2) {
    *reinterpret_cast<std::uint32_t*>(address) = pack_bfloat16_pair(x[0], x[1]);
  } else {
#pragma unroll
    for (int i = 0; i < width; ++i) address[i] = to_bfloat16(x[i]);
  }
}

// What is left of x once it is stored as T.
template <typename T>
__device__ __forceinline__ float rounded(float x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else
    return __bfloat162float(__float2bfloat16_rn(x));
}

// 1 / (1 + exp(-x)), relative error below 1e-6 where |x| < 10.
__device__ __forceinline__ float sigmoid(float x) {
  return __fdividef(1.0F, 1.0F + __expf(-x));
}

// A vector of parameters that is either in the activations' dtype T or in f32.
template <typename T>
struct Parameters {
  const void* data;
  bool f32;

  template <int width>
  __device__ __forceinline__ void load(std::int64_t first, float (&x)[width]) const {
    if (sizeof(T) == 4 || f32)
      cuda::load(static_cast<const float*>(data) + first, x);
    else
      cuda::load(static_cast<const T*>(data) + first, x);
  }
};

template <typename T>
Parameters<T> parameters_of(Tensor tensor) {
  if (tensor.dtype() == DType::f32) return {tensor.as<float>(), true};
  return {tensor.as<T>(), false};
}

template <typename Number>
__device__ __forceinline__ Number warp_sum(Number x) {
#pragma unroll
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(0xffffffffU, x, offset);
  }
  return x;
}

// Kernels on rows give each row to a team of `team` threads. A block holds eight teams of a warp,
// or is one larger team.
constexpr int row_block_threads(int team) {
  return team <= warp_size ? 256 : team;
}

// Waits for all threads of the caller's team.
template <int team>
__device__ __forceinline__ void synchronize_team() {
  if constexpr (row_block_threads(team) == team) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

// The sum over the caller's team, for all of its threads; every one of them takes part. The block
// is one-dimensional, of row_block_threads(team).
template <int team, typename Number>
__device__ __forceinline__ Number team_sum(Number x) {
  x = warp_sum(x);
  if constexpr (team > warp_size) {
    constexpr int warps = team / warp_size;
    __shared__ Number of_warp[row_block_threads(team) / team][warps];
    const int my_team = static_cast<int>(threadIdx.x) / team;
    const int member = static_cast<int>(threadIdx.x) % team;
    synchronize_team<team>();  // an earlier call may still be reading
    if (member % warp_size == 0) of_warp[my_team][member / warp_size] = x;
    synchronize_team<team>();
    const int lane = member % warp_size;
    x = warp_sum(lane < warps ? of_warp[my_team][lane] : Number{0});
  }
  return x;
}

// How a row of `columns` elements is spread over threads: `team` threads hold it in registers,
// `chunks` pieces of `width` elements each. Calls body.template operator()<width, team, chunks>().
template <typename T, typename Body>
void dispatch_row(const char* op, std::int64_t columns, bool vectors, Body&& body) {
  const auto with_width = [&]<int width>() {
    constexpr int most_chunks =
        width == 1 ? 8 : 16 / width;  // what 64 registers per thread can hold
    const std::int64_t pieces = ceil_divide(columns, width);
    if (pieces <= 32)
      body.template operator()<width, 32, 1>();
    else if (pieces <= 32 * 2)
      body.template operator()<width, 32, 2>();
    else if (pieces <= 128)
      body.template operator()<width, 128, 1>();
    else if (pieces <= 128 * 2)
      body.template operator()<width, 128, 2>();
    else if (pieces <= 256 * 4)
      body.template operator()<width, 256, 4>();
    else if (pieces <= 1024 * most_chunks)
      body.template operator()<width, 1024, most_chunks>();
    else
      fail_internal("{} on CUDA cannot hold a row of {} elements", op, columns);
  };
  if (vectors)
    with_width.template operator()<vector_width<T>>();
  else
    with_width.template operator()<1>();
}

// row [columns] = sum over the block's teams of their registers, spread as in dispatch_row. Teams
// add up in ascending order in shared memory. All threads of the block take part.
template <int width, int team, int chunks>
__device__ __forceinline__ void store_sum_of_teams(float* row, const float (&x)[chunks][width],
                                                   int columns) {
  constexpr int teams = row_block_threads(team) / team;
  const int member = static_cast<int>(threadIdx.x) % team;
  if constexpr (teams == 1) {
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int column = (chunk * team + member) * width;
      if (column < columns) store(row + column, x[chunk]);
    }
  } else {
    __shared__ float total[chunks * width * team];
    __syncthreads();  // an earlier call may still be reading
    for (int turn = 0; turn < teams; ++turn) {
      if (static_cast<int>(threadIdx.x) / team == turn) {
#pragma unroll
        for (int chunk = 0; chunk < chunks; ++chunk) {
#pragma unroll
          for (int i = 0; i < width; ++i) {
            const int place = (chunk * width + i) * team + member;
            total[place] = turn == 0 ? x[chunk][i] : total[place] + x[chunk][i];
          }
        }
      }
      __syncthreads();
    }
    if (static_cast<int>(threadIdx.x) >= team) return;
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int column = (chunk * team + member) * width;
      float sum[width];
#pragma unroll
      for (int i = 0; i < width; ++i) sum[i] = total[(chunk * width + i) * team + member];
      if (column < columns) store(row + column, sum);
    }
  }
}

// Gradients of a vector of parameters are column sums over all rows. Stage one leaves one partial
// sum per block, stage two (here) adds them up: total [columns] += sum of partials [count,
// columns].
void add_partial_rows(const Context& context, float* total, const float* partials,
                      std::int64_t count, std::int64_t columns);

// How many partial sums a column is cut into: four blocks for each of 132 multiprocessors.
inline constexpr std::int64_t max_partials = 528;

}  // namespace memengine::cuda
