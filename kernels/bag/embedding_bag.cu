// The embedding bag and its gradients on the GPU.
//
// Forward: a warp sums a token's picks over one slab of columns, 16 bytes per lane; the rows are
// random accesses, so eight are in flight at once. Short rows (64 or 128 columns) leave lanes over,
// which take other picks of the same token. Where there are few tokens, as in decoding, eight warps
// share a token's picks. The gradients are two shared patterns: dot products of
// a token with its rows (row_dots.cuh) and sums over sorted picks (segment_sum.cuh).
#include "kernels/bag/embedding_bag.h"

#include "kernels/bag/row_dots.cuh"
#include "kernels/bag/segment_sum.cuh"
#include "kernels/few_tokens.h"
#include "kernels/runtime/runtime.h"

namespace memengine::cuda {
namespace {

template <typename T>
__device__ __forceinline__ float as_float(T x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else
    return to_float(x);
}

// sum += weight times row over the picks `begin` to `end` of one token, at this lane's columns; at
// the end all teams of the warp have the same.
template <int width, int team, typename T, typename Rows>
__device__ __forceinline__ void sum_picks(float (&sum)[width], const Rows& rows,
                                          const std::int32_t* indices, const T* weights, int begin,
                                          int end, int column) {
  constexpr int in_flight = Rows::in_flight;
  constexpr int teams = warp_size / team;
  constexpr unsigned all = 0xffffffffU;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int my_team = lane / team;
  for (int base = begin; base < end; base += warp_size) {
    // After the last pick, lanes repeat it with a weight of zero.
    const int place = base + lane;
    const int pick = min(place, end - 1);
    const std::int32_t my_row = indices[pick];
    const float my_weight = place < end ? as_float(weights[pick]) : 0.0F;
    const int here = min(warp_size, end - base);
#pragma unroll 1
    for (int next = 0; next < here; next += in_flight * teams) {
      decltype(rows.template load<width>(0, 0)) row[in_flight];
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const std::int32_t r = __shfl_sync(all, my_row, next + i * teams + my_team);
        row[i] = rows.template load<width>(r, column);
      }
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const float weight = __shfl_sync(all, my_weight, next + i * teams + my_team);
#pragma unroll
        for (int j = 0; j < width; ++j) sum[j] += weight * row[i][j];
      }
    }
  }
#pragma unroll
  for (int offset = team; offset < warp_size; offset *= 2) {
#pragma unroll
    for (int j = 0; j < width; ++j) sum[j] += __shfl_xor_sync(all, sum[j], offset);
  }
}

template <int width, int team, typename T, typename Rows>
__global__ void __launch_bounds__(256)
    bag_kernel(T* out, Rows rows, const std::int32_t* indices, const T* weights,
               std::int64_t tokens, int picks_per_token, int columns, int slabs) {
  const std::int64_t warp =
      (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / warp_size;
  const std::int64_t token = warp / slabs;
  if (token >= tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int column = (static_cast<int>(warp % slabs) * team + lane % team) * width;
  const bool in_row = column < columns;
  float sum[width] = {};
  sum_picks<width, team>(sum, rows, indices + token * picks_per_token,
                         weights + token * picks_per_token, 0, picks_per_token,
                         in_row ? column : 0);
  if (in_row && lane < team) store(out + token * columns + column, sum);
}

constexpr int sharing_warps = 8;

// A block per token and slab; its warps take equal parts of the picks, and are added in order.
template <int width, int team, typename T, typename Rows>
__global__ void __launch_bounds__(sharing_warps* warp_size)
    shared_bag_kernel(T* out, Rows rows, const std::int32_t* indices, const T* weights,
                      int picks_per_token, int columns, int slabs) {
  __shared__ float sums[sharing_warps][team][width];
  const std::int64_t token = blockIdx.x / slabs;
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int column = (static_cast<int>(blockIdx.x % slabs) * team + lane % team) * width;
  const bool in_row = column < columns;
  const int part = (picks_per_token + sharing_warps - 1) / sharing_warps;
  const int begin = min(warp * part, picks_per_token);
  float sum[width] = {};
  sum_picks<width, team>(sum, rows, indices + token * picks_per_token,
                         weights + token * picks_per_token, begin,
                         min(begin + part, picks_per_token), in_row ? column : 0);
  if (lane < team) {
#pragma unroll
    for (int j = 0; j < width; ++j) sums[warp][lane][j] = sum[j];
  }
  __syncthreads();
  if (warp != 0 || lane >= team || !in_row) return;
  for (int other = 1; other < sharing_warps; ++other) {
#pragma unroll
    for (int j = 0; j < width; ++j) sum[j] += sums[other][lane][j];
  }
  store(out + token * columns + column, sum);
}

template <typename T>
struct StoreDots {
  T* dweights;

  __device__ void operator()(std::int64_t pick, float dot) const {
    if constexpr (sizeof(T) == 4)
      dweights[pick] = dot;
    else
      dweights[pick] = to_bfloat16(dot);
  }
};

}  // namespace

void embedding_bag_forward(const Context& context, Tensor out, const BagRows& rows, Tensor indices,
                           Tensor weights) {
  const std::int64_t tokens = weights.dim(0);
  const std::int64_t picks_per_token = weights.dim(1);
  const std::int64_t columns = out.dim(1);
  if (tokens == 0) return;
  dispatch_storage("embedding_bag_forward", out.dtype(), [&]<typename T>() {
    dispatch_bag_rows<T>(rows, columns, {out.data()}, [&]<int width, int team>(const auto& reader) {
      constexpr int threads = 256;
      const std::int64_t slabs = ceil_divide(columns, width * team);
      if (tokens <= few_tokens) {
        shared_bag_kernel<width, team>
            <<<grid_size(tokens * slabs), sharing_warps * warp_size, 0, context.stream>>>(
                out.as<T>(), reader, indices.as<std::int32_t>(), weights.as<T>(),
                static_cast<int>(picks_per_token), static_cast<int>(columns),
                static_cast<int>(slabs));
        return;
      }
      bag_kernel<width, team><<<grid_size(ceil_divide(tokens * slabs * warp_size, threads)),
                                threads, 0, context.stream>>>(
          out.as<T>(), reader, indices.as<std::int32_t>(), weights.as<T>(), tokens,
          static_cast<int>(picks_per_token), static_cast<int>(columns), static_cast<int>(slabs));
    });
  });
  MEMENGINE_LAUNCH_CHECK("embedding_bag_forward");
}

void embedding_bag_backward_weights(const Context& context, Tensor dweights, Tensor dout,
                                    const BagRows& rows, Tensor indices) {
  dispatch_storage("embedding_bag_backward_weights", dout.dtype(), [&]<typename T>() {
    row_dots<T>("embedding_bag_backward_weights", context, StoreDots<T>{dweights.as<T>()}, dout,
                rows, indices);
  });
}

void embedding_bag_backward_rows(const Context& context, Tensor row_gradients, Tensor square_sum,
                                 Tensor coefficients, Tensor vectors, const UniqueRows& unique) {
  const std::int64_t picks = coefficients.size();
  const std::int64_t columns = vectors.dim(1);
  if (picks == 0 || columns == 0) {
    memengine::fill_zero(context, square_sum);
    return;
  }
  const SegmentPlan plan(picks, columns);
  Scratch scratch(context);
  auto* partials = scratch.take<float>(plan.partials());
  auto* squares = scratch.take<double>(plan.most_blocks());
  auto* packed = scratch.take<PackedEntry>(picks);
  dispatch_storage("embedding_bag_backward_rows", vectors.dtype(), [&]<typename T>() {
    const SegmentEntries<T> entries{unique.order.as<std::int32_t>(),
                                    unique.places.as<std::int32_t>(), coefficients.as<T>(),
                                    static_cast<int>(picks / vectors.dim(0))};
    segment_sum<false>("embedding_bag_backward_rows", context, row_gradients.as<float>(),
                       {partials, packed, squares, square_sum.as<double>()}, entries,
                       vectors.as<T>(), picks, columns);
  });
}

std::int64_t embedding_bag_scratch_bytes(std::int64_t picks, std::int64_t v_dim) {
  const SegmentPlan plan(picks, v_dim);
  return scratch_part<float>(plan.partials()) + scratch_part<double>(plan.most_blocks()) +
         scratch_part<PackedEntry>(picks);
}

}  // namespace memengine::cuda
