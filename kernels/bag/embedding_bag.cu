// The embedding bag and its gradients on the GPU.
//
// Forward: a warp sums a token's picks over one slab of columns, 16 bytes per lane; the rows are
// random accesses, so eight are in flight at once. Short rows (64 or 128 columns) leave lanes over,
// which take other picks of the same token. The gradients are two shared patterns: dot products of
// a token with its rows (row_dots.cuh) and sums over sorted picks (segment_sum.cuh).
#include "kernels/bag/embedding_bag.h"

#include "kernels/bag/row_dots.cuh"
#include "kernels/bag/segment_sum.cuh"
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

template <int width, int team, typename T, typename Rows>
__global__ void __launch_bounds__(256)
    bag_kernel(T* out, Rows rows, const std::int32_t* indices, const T* weights,
               std::int64_t tokens, int picks_per_token, int columns, int slabs) {
  constexpr int in_flight = Rows::in_flight;
  constexpr int teams = warp_size / team;
  constexpr unsigned all = 0xffffffffU;
  const std::int64_t warp =
      (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / warp_size;
  const std::int64_t token = warp / slabs;
  if (token >= tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int my_team = lane / team;
  const int column = (static_cast<int>(warp % slabs) * team + lane % team) * width;
  const bool in_row = column < columns;

  const int safe_column = in_row ? column : 0;

  float sum[width] = {};
  for (int base = 0; base < picks_per_token; base += warp_size) {
    // After the last pick, lanes repeat it with a weight of zero.
    const int place = base + lane;
    const std::int64_t pick = token * picks_per_token + min(place, picks_per_token - 1);
    const std::int32_t my_row = indices[pick];
    const float my_weight = place < picks_per_token ? as_float(weights[pick]) : 0.0F;
    const int here = min(warp_size, picks_per_token - base);
#pragma unroll 1
    for (int next = 0; next < here; next += in_flight * teams) {
      decltype(rows.template load<width>(0, 0)) row[in_flight];
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const std::int32_t r = __shfl_sync(all, my_row, next + i * teams + my_team);
        row[i] = rows.template load<width>(r, safe_column);
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
  if (in_row && my_team == 0) store(out + token * columns + column, sum);
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
    fill_zero(context, square_sum);
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
