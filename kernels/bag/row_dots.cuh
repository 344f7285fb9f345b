// Dot products of each token's vector with the rows it picked, 32 picks per warp:
//
//     result(n, k) = <x[n], rows[indices[n, k]]>
//
// A team of 8, 16 or 32 lanes, as a row is long, has eight rows in flight (four where they come in
// halves). Each lane's eight partial sums are added up crosswise: three exchanges halve the eight
// numbers while they add, so that eight sums cost nine exchanges instead of forty.
#pragma once

#include "kernels/bag/bag_rows.cuh"

namespace memengine::cuda {

// Calls finish(pick, dot product) for every pick p = n * K + k.
template <int width, int team, typename T, typename Rows, typename Finish>
__global__ void __launch_bounds__(256, 4)
    row_dots_kernel(Finish finish, const T* x, Rows rows, const std::int32_t* indices,
                    std::int64_t tokens, int picks_per_token, int columns, int groups) {
  constexpr int in_flight = Rows::in_flight;
  constexpr int teams = warp_size / team;
  constexpr unsigned all = 0xffffffffU;
  const std::int64_t warp =
      (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / warp_size;
  const std::int64_t token = warp / groups;
  if (token >= tokens) return;
  const int first = static_cast<int>(warp % groups) * warp_size;
  const int count = min(warp_size, picks_per_token - first);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int member = lane % team;
  const int my_team = lane / team;
  const std::int64_t first_pick = token * picks_per_token + first;
  // Lanes without a pick repeat the last one; their results are not used.
  const std::int32_t my_row = indices[first_pick + min(lane, count - 1)];
  const T* vector = x + token * columns;

  float result = 0;
  for (int base = 0; base < count; base += in_flight * teams) {
    std::int32_t row[in_flight];
    float sum[in_flight];
#pragma unroll
    for (int i = 0; i < in_flight; ++i) {
      row[i] = __shfl_sync(all, my_row, (base + my_team * in_flight + i) % warp_size);
      sum[i] = 0;
    }
#pragma unroll 1
    for (int column = member * width; column < columns; column += team * width) {
      const Pack<T, width> a = load<width>(vector + column);
      decltype(rows.template load<width>(0, 0)) b[in_flight];
#pragma unroll
      for (int i = 0; i < in_flight; ++i) b[i] = rows.template load<width>(row[i], column);
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
#pragma unroll
        for (int j = 0; j < width; ++j) sum[i] += a[j] * b[i][j];
      }
    }
    int offset = team / 2;
#pragma unroll
    for (int left = in_flight / 2; left > 0; left /= 2, offset /= 2) {
      const bool upper = (lane & offset) != 0;
#pragma unroll
      for (int i = 0; i < left; ++i) {
        const float kept = upper ? sum[i + left] : sum[i];
        const float given = upper ? sum[i] : sum[i + left];
        sum[i] = kept + __shfl_xor_sync(all, given, offset);
      }
    }
    for (; offset > 0; offset /= 2) sum[0] += __shfl_xor_sync(all, sum[0], offset);
    // The sum of this round's pick i of team t now stands in lane t * team + i * (team /
    // in_flight).
    const int mine = lane - base;
    const int holder =
        (mine / in_flight * team + mine % in_flight * (team / in_flight)) % warp_size;
    const float sum_of_mine = __shfl_sync(all, sum[0], holder & (warp_size - 1));
    if (mine >= 0 && mine < in_flight * teams) result = sum_of_mine;
  }
  if (lane < count) finish(first_pick + lane, result);
}

template <typename T, typename Finish>
void row_dots(const char* op, const Context& context, const Finish& finish, Tensor x,
              const BagRows& rows, Tensor indices) {
  const std::int64_t tokens = indices.dim(0);
  const std::int64_t picks_per_token = indices.dim(1);
  const std::int64_t columns = x.dim(1);
  if (tokens == 0 || picks_per_token == 0) return;
  constexpr int threads = 256;
  const std::int64_t groups = ceil_divide(picks_per_token, warp_size);
  dispatch_bag_rows<T>(rows, columns, {x.data()}, [&]<int width, int team>(const auto& reader) {
    row_dots_kernel<width, team><<<grid_size(ceil_divide(tokens * groups * warp_size, threads)),
                                   threads, 0, context.stream>>>(
        finish, x.as<T>(), reader, indices.as<std::int32_t>(), tokens,
        static_cast<int>(picks_per_token), static_cast<int>(columns), static_cast<int>(groups));
  });
  MEMENGINE_LAUNCH_CHECK(op);
}

}  // namespace memengine::cuda
