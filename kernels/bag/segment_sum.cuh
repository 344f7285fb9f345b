// Segmented sums: entries sorted by row, each a coefficient times a gathered vector; row r gets the
// sum of its own.
//
//     out[r] (=|+=) sum over the entries e of row r, in order, of coefficient(e) * vectors[e / K]
//
// A row may have one entry or a hundred thousand, so the work is cut by position, not by row: each
// team of threads takes `segment_chunk` consecutive positions. A segment that begins in a team's
// chunk is written to its row; a chunk's first entries that continue the row of the chunk before
// are left as a partial sum, one a chunk, and a second kernel adds a row's partial sums to it in
// the order of chunks. No atomics: the result is the same every time.
#pragma once

#include "kernels/device_math.cuh"

namespace memengine::cuda {

inline constexpr int segment_chunk = 128;

inline std::int64_t segment_sum_scratch_bytes(std::int64_t entries, std::int64_t columns) {
  return scratch_part<float>(ceil_divide(entries, segment_chunk) * columns);
}

// Where the sorted entries come from. `row` is that of a sorted position; rows never decrease, and
// rows at and past `row_limit` are dropped.
template <typename Coefficient>
struct SegmentsOfUniqueRows {
  const std::int32_t* order;    // [entries] the entry at a sorted position
  const std::int32_t* inverse;  // [entries] the row of an entry
  const Coefficient* coefficients;
  std::int32_t row_limit;

  __device__ std::int32_t row(std::int64_t position) const { return inverse[order[position]]; }
};

template <typename Coefficient>
struct SegmentsOfSortedRows {
  const std::int32_t* order;
  const std::int32_t* sorted_rows;  // [entries] the row at a sorted position
  const Coefficient* coefficients;
  std::int32_t row_limit;

  __device__ std::int32_t row(std::int64_t position) const { return sorted_rows[position]; }
};

// One team of `team` lanes sums one chunk over one slab of team * width columns.
template <typename T, int width, int team, bool accumulate, typename Segments>
__global__ void __launch_bounds__(256, 3)
    segment_sum_kernel(float* out, float* partials, Segments segments, const T* vectors,
                       std::int64_t entries, int entries_per_vector, int columns, int slabs) {
  constexpr int in_flight = 8;
  const std::int64_t team_index =
      (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / team;
  const std::int64_t chunk = team_index / slabs;
  const int slab = static_cast<int>(team_index % slabs);
  const std::int64_t first = chunk * segment_chunk;
  if (first >= entries) return;
  const int count = static_cast<int>(min(std::int64_t{segment_chunk}, entries - first));
  const int member = static_cast<int>(threadIdx.x) % team;
  const unsigned mask = (team == warp_size ? 0xffffffffU : (1U << team) - 1)
                        << (static_cast<int>(threadIdx.x) % warp_size - member);
  const int column = (slab * team + member) * width;
  const bool in_row = column < columns;
  const int safe_column = in_row ? column : 0;

  std::int32_t current = segments.row(first);
  if (current >= segments.row_limit) return;
  // True while the sum belongs to a segment that began in an earlier chunk.
  bool continued = first > 0 && segments.row(first - 1) == current;
  float sum[width] = {};

  const auto finish = [&] {
    if (!in_row) return;
    if (continued) {
      store(partials + chunk * columns + column, sum);
    } else if (current < segments.row_limit) {
      float* row = out + static_cast<std::int64_t>(current) * columns + column;
      if constexpr (accumulate) {
        float before[width];
        load(row, before);
#pragma unroll
        for (int i = 0; i < width; ++i) sum[i] += before[i];
      }
      store(row, sum);
    }
  };

  for (int base = 0; base < count; base += team) {
    // Each lane fetches one entry; the team then walks through them. Behind the last entry, lanes
    // repeat it with a coefficient of zero.
    const int place = base + member;
    const std::int64_t position = first + min(place, count - 1);
    const std::int32_t entry = segments.order[position];
    const std::int32_t my_row = segments.row(position);
    const std::int32_t my_vector = entry / entries_per_vector;
    float my_coefficient = 0;
    if (place < count) {
      if constexpr (sizeof(*segments.coefficients) == 4)
        my_coefficient = segments.coefficients[entry];
      else
        my_coefficient = to_float(segments.coefficients[entry]);
    }
    const int here = min(team, count - base);
#pragma unroll 1
    for (int next = 0; next < here; next += in_flight) {
      Pack<T, width> vector[in_flight];
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const std::int32_t v = __shfl_sync(mask, my_vector, next + i, team);
        vector[i] = load<width>(vectors + static_cast<std::int64_t>(v) * columns + safe_column);
      }
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const std::int32_t row = __shfl_sync(mask, my_row, next + i, team);
        const float coefficient = __shfl_sync(mask, my_coefficient, next + i, team);
        if (row != current) {
          finish();
          current = row;
          continued = false;
#pragma unroll
          for (int j = 0; j < width; ++j) sum[j] = 0;
        }
#pragma unroll
        for (int j = 0; j < width; ++j) sum[j] += coefficient * vector[i][j];
      }
    }
  }
  finish();
}

// Block b looks at the boundary between chunks b and b + 1. If a segment crosses it and began in
// chunk b, the block adds up that segment's partial sums, each warp every eighth, then the warps in
// order.
template <typename Segments>
__global__ void __launch_bounds__(256)
    segment_join_kernel(float* out, const float* partials, Segments segments, std::int64_t entries,
                        int columns) {
  constexpr int warps = 256 / warp_size;
  __shared__ float of_warp[warps][warp_size];
  const std::int64_t first_chunk = static_cast<std::int64_t>(blockIdx.x) + 1;
  const std::int64_t boundary = first_chunk * segment_chunk;
  const std::int64_t chunks = ceil_divide(entries, segment_chunk);
  const std::int32_t row = segments.row(boundary);
  if (row >= segments.row_limit || segments.row(boundary - 1) != row) return;
  const std::int64_t chunk_before = boundary - segment_chunk;
  if (chunk_before > 0 && segments.row(chunk_before - 1) == row &&
      segments.row(chunk_before) == row) {
    return;  // began earlier
  }
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  std::int64_t last_chunk = first_chunk;  // the last one that begins with this row
  for (bool more = true; more;) {
    const std::int64_t candidate = last_chunk + 1 + lane;
    const bool same = candidate < chunks && segments.row(candidate * segment_chunk) == row;
    const unsigned different = ~__ballot_sync(0xffffffffU, same);
    last_chunk += different == 0 ? warp_size : __ffs(static_cast<int>(different)) - 1;
    more = different == 0;
  }
  for (int slab = static_cast<int>(blockIdx.y) * warp_size; slab < columns;
       slab += static_cast<int>(gridDim.y) * warp_size) {
    const int column = slab + lane;
    float sum = 0;
    if (column < columns) {
#pragma unroll 4
      for (std::int64_t chunk = first_chunk + warp; chunk <= last_chunk; chunk += warps) {
        sum += partials[chunk * columns + column];
      }
    }
    __syncthreads();
    of_warp[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < columns) {
      float total = out[static_cast<std::int64_t>(row) * columns + column];
#pragma unroll
      for (int i = 0; i < warps; ++i) total += of_warp[i][lane];
      out[static_cast<std::int64_t>(row) * columns + column] = total;
    }
  }
}

// vectors [entries / entries_per_vector, columns]; out [rows, columns]; partials as
// segment_sum_scratch_bytes. Rows without entries are left as they are.
template <bool accumulate, typename T, typename Segments>
void segment_sum(const char* op, const Context& context, float* out, float* partials,
                 const Segments& segments, const T* vectors, std::int64_t entries,
                 std::int64_t entries_per_vector, std::int64_t columns) {
  if (entries == 0 || columns == 0) return;
  constexpr int threads = 256;
  const std::int64_t chunks = ceil_divide(entries, segment_chunk);
  const auto launch = [&]<int width, int team>() {
    const std::int64_t slabs = ceil_divide(columns, width * team);
    segment_sum_kernel<T, width, team, accumulate>
        <<<grid_size(ceil_divide(chunks * slabs * team, threads)), threads, 0, context.stream>>>(
            out, partials, segments, vectors, entries, static_cast<int>(entries_per_vector),
            static_cast<int>(columns), static_cast<int>(slabs));
  };
  constexpr int wide = vector_width<T>;
  if (!in_vectors<T>(columns, {out, partials, vectors}))
    launch.template operator()<1, 32>();
  else if (columns <= wide * 8)
    launch.template operator()<wide, 8>();
  else if (columns <= wide * 16)
    launch.template operator()<wide, 16>();
  else
    launch.template operator()<wide, 32>();
  MEMENGINE_LAUNCH_CHECK(op);
  if (chunks == 1) return;
  const dim3 grid(grid_size(chunks - 1),
                  static_cast<unsigned>(std::min<std::int64_t>(8, ceil_divide(columns, 32))));
  segment_join_kernel<<<grid, threads, 0, context.stream>>>(out, partials, segments, entries,
                                                            static_cast<int>(columns));
  MEMENGINE_LAUNCH_CHECK(op);
}

}  // namespace memengine::cuda
