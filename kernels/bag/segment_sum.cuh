// Segmented sums: entries sorted by row, each a coefficient times a gathered vector; row r gets the
// sum of its own.
//
//     out[r] (=|+=) sum over the entries e of row r, in order, of coefficient(e) * vectors[e / K]
//
// A row may have one entry or a hundred thousand, so the work is cut by position, not by row: each
// team of threads takes a chunk of consecutive positions. A segment that begins in a team's
// chunk is written to its row; a chunk's first entries that continue the row of the chunk before
// are left as a partial sum, one per chunk. Those partial sums are again entries sorted by row, a
// hundred times fewer, and the same kernel adds them to their rows, level by level until one chunk
// holds them all: a row picked by every token costs no more than a million rows picked once. No
// atomics: the result is the same every time.
//
// What is gathered should lie in the L2 cache, and its half that is near an SM holds 25 MB on an
// H100, less than the vectors of a step. So all blocks work on one slab of 256 bytes of every
// vector, then on the next (blockIdx.y is the slab, and blocks start in its order). Entries are
// then read once per slab, and are packed first: 8 bytes instead of two scattered accesses.
#pragma once

#include "kernels/bag/segment_entries.cuh"

namespace memengine::cuda {

inline constexpr int segment_threads = 256;

// Where sums and partial sums go.
struct SegmentOutput {
  float* rows;         // [rows, columns]
  float* partials;     // [chunks, columns]
  double* squares;     // [blocks] sums of squares of finished rows; null: not wanted
  std::int32_t limit;  // rows at and past it are dropped
  int chunk;           // entries per team
};

// One team's chunk over one slab of team * width columns. `squares` += those of rows that are
// finished here.
//
// Partial sums are few, and nearly each is of another row, to which it is added: read when it is
// needed, what a row holds so far would make one access wait for the other. It is read together
// with the partial sum instead. Nobody else writes that row meanwhile, for its segment began in
// this chunk.
template <int width, int team, bool accumulate, typename T, typename Entries>
__device__ __forceinline__ void sum_chunk(const SegmentOutput& out, const Entries& entries,
                                          const T* vectors, std::int64_t size, std::int64_t chunk,
                                          int columns, double& squares) {
  constexpr int in_flight = 8;
  constexpr bool reads_ahead = accumulate && Entries::sparse;
  const std::int64_t first = chunk * out.chunk;
  const int count = static_cast<int>(min(std::int64_t{out.chunk}, size - first));
  const int member = static_cast<int>(threadIdx.x) % team;
  const unsigned mask = (team == warp_size ? 0xffffffffU : (1U << team) - 1)
                        << (static_cast<int>(threadIdx.x) % warp_size - member);
  const int column = (static_cast<int>(blockIdx.y) * team + member) * width;
  const bool in_row = column < columns;
  const int safe_column = in_row ? column : 0;

  std::int32_t current = entries.row(first);
  if (current >= out.limit) return;
  // True while the sum belongs to a segment that began in an earlier chunk.
  bool continued = first > 0 && entries.row(first - 1) == current;
  const std::int32_t continued_row = continued ? current : -1;
  bool any = !Entries::sparse;  // whether the segment has an entry here
  float sum[width] = {};
  float before[width] = {};  // what the current row holds, where it is read ahead

  const auto finish = [&](bool goes_on) {
    if (!in_row || !any || current >= out.limit) return;
    if (continued) {
      store(out.partials + chunk * columns + column, sum);
      return;
    }
    float* row = out.rows + static_cast<std::int64_t>(current) * columns + column;
    if constexpr (accumulate) {
      if constexpr (!reads_ahead) load(row, before);
#pragma unroll
      for (int i = 0; i < width; ++i) sum[i] += before[i];
    }
    store(row, sum);
    if (!goes_on) {
      float square = 0;
#pragma unroll
      for (int i = 0; i < width; ++i) square += sum[i] * sum[i];
      squares += square;
    }
  };

  // Each lane fetches one entry, one round ahead; the team then walks through them. After the last
  // entry, lanes repeat it with a coefficient of zero.
  const auto fetch = [&](int place) {
    SegmentEntry entry = entries.fetch(first + min(place, count - 1));
    if (place >= count) entry.coefficient = 0;
    return entry;
  };
  SegmentEntry mine = fetch(member);
  for (int base = 0; base < count; base += team) {
    SegmentEntry following = mine;
    if (base + team < count) following = fetch(base + team + member);
    const int here = min(team, count - base);
#pragma unroll 1
    for (int next = 0; next < here; next += in_flight) {
      Pack<T, width> vector[in_flight];
      Pack<float, width> in_place[reads_ahead ? in_flight : 1];
      bool present[in_flight];
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const std::int32_t v = __shfl_sync(mask, mine.vector, next + i, team);
        present[i] = !Entries::sparse || v >= 0;
        if constexpr (reads_ahead) {
          const std::int32_t row = __shfl_sync(mask, mine.row, next + i, team);
          present[i] = present[i] && row < out.limit;
          if (present[i] && row != continued_row) {
            in_place[i] =
                load<width>(out.rows + static_cast<std::int64_t>(row) * columns + safe_column);
          }
        }
        if (present[i]) {
          vector[i] = load<width>(vectors + static_cast<std::int64_t>(v) * columns + safe_column);
        }
      }
#pragma unroll
      for (int i = 0; i < in_flight; ++i) {
        const std::int32_t row = __shfl_sync(mask, mine.row, next + i, team);
        const float coefficient = __shfl_sync(mask, mine.coefficient, next + i, team);
        if (row != current) {
          finish(false);
          current = row;
          continued = false;
          any = !Entries::sparse;
#pragma unroll
          for (int j = 0; j < width; ++j) sum[j] = 0;
        }
        if (present[i]) {
          any = true;
#pragma unroll
          for (int j = 0; j < width; ++j) sum[j] += coefficient * vector[i][j];
          if constexpr (reads_ahead) {
#pragma unroll
            for (int j = 0; j < width; ++j) before[j] = in_place[i][j];
          }
        }
      }
    }
    mine = following;
  }
  finish(first + count < size && entries.row(first + count) == current);
}

template <int width, int team, bool accumulate, typename T, typename Entries>
__global__ void __launch_bounds__(segment_threads, accumulate&& Entries::sparse ? 1 : 3)
    segment_sum_kernel(SegmentOutput out, Entries entries, const T* vectors, std::int64_t size,
                       int columns) {
  const std::int64_t chunk = (std::int64_t{blockIdx.x} * segment_threads + threadIdx.x) / team;
  double squares = 0;
  if (chunk * out.chunk < size) {
    sum_chunk<width, team, accumulate>(out, entries, vectors, size, chunk, columns, squares);
  }
  if (out.squares == nullptr) return;
  squares = team_sum<segment_threads>(squares);
  if (threadIdx.x == 0) {
    out.squares[std::int64_t{blockIdx.y} * gridDim.x + blockIdx.x] = squares;
  }
}

// Starts one level; returns its blocks.
template <bool accumulate, typename T, typename Entries>
std::int64_t launch_segment_sum(const char* op, const Context& context, const SegmentOutput& out,
                                const Entries& entries, const T* vectors, std::int64_t size,
                                std::int64_t columns) {
  std::int64_t blocks = 0;
  const auto launch = [&]<int width, int team>() {
    const std::int64_t teams = ceil_divide(size, out.chunk);
    const dim3 grid(grid_size(ceil_divide(teams * team, segment_threads)),
                    grid_size(ceil_divide(columns, width * team)));
    segment_sum_kernel<width, team, accumulate><<<grid, segment_threads, 0, context.stream>>>(
        out, entries, vectors, size, static_cast<int>(columns));
    blocks = std::int64_t{grid.x} * grid.y;
  };
  constexpr int wide = vector_width<T>;
  if (!in_vectors<T>(columns, {out.rows, out.partials, vectors}))
    launch.template operator()<1, 32>();
  else if (columns <= wide * 8)
    launch.template operator()<wide, 8>();
  else
    launch.template operator()<wide, 16>();
  MEMENGINE_LAUNCH_CHECK(op);
  return blocks;
}

// Working memory and results of segment_sum() beside its rows.
struct SegmentScratch {
  float* partials = nullptr;        // SegmentPlan::partials()
  PackedEntry* packed = nullptr;    // [entries]; null: entries are not packed
  double* squares = nullptr;        // SegmentPlan::most_blocks(); null: no sum of squares
  double* square_sum = nullptr;     // [1]: of the elements of all rows that have entries
  std::int32_t limit = 0x7fffffff;  // rows at and past it are dropped
};

// vectors [entries / entries.per_vector, columns]; out [rows, columns]. Rows without entries are
// left as they are.
template <bool accumulate, typename T, typename Coefficient>
void segment_sum(const char* op, const Context& context, float* out, const SegmentScratch& scratch,
                 const SegmentEntries<Coefficient>& entries, const T* vectors, std::int64_t size,
                 std::int64_t columns) {
  if (size == 0 || columns == 0) return;
  SegmentOutput to{out, scratch.partials, scratch.squares, scratch.limit, segment_chunk(columns)};
  std::int64_t blocks = 0;
  // Packing pays where entries are read for several slabs.
  if (scratch.packed != nullptr && columns > std::int64_t{16} * vector_width<T>) {
    pack_entries(op, context, scratch.packed, entries, size);
    blocks = launch_segment_sum<accumulate>(
        op, context, to, PackedEntries{scratch.packed, entries.rows}, vectors, size, columns);
  } else {
    blocks = launch_segment_sum<accumulate>(op, context, to, entries, vectors, size, columns);
  }
  std::int64_t stride = 1;
  for (std::int64_t chunks = ceil_divide(size, to.chunk); chunks > 1;
       chunks = ceil_divide(chunks, to.chunk)) {
    const PartialEntries partials{entries.rows, stride * to.chunk, stride};
    const float* sums = to.partials;
    to.partials += chunks * columns;
    if (to.squares != nullptr) to.squares = scratch.squares + blocks;
    blocks += launch_segment_sum<true>(op, context, to, partials, sums, chunks, columns);
    stride *= to.chunk;
  }
  if (scratch.squares != nullptr) {
    total_kernel<<<1, 1024, 0, context.stream>>>(scratch.square_sum, scratch.squares, blocks);
    MEMENGINE_LAUNCH_CHECK(op);
  }
}

}  // namespace memengine::cuda
