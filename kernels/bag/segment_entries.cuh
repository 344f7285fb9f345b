// What a segmented sum (segment_sum.cuh) walks through, in the three forms it comes in, and how
// much working memory that takes.
#pragma once

#include "kernels/device_math.cuh"

namespace memengine::cuda {

// Entries per team. Short rows are few teams' work: more chunks keep all multiprocessors busy to
// the end. Of long ones every chunk may leave a long partial sum.
constexpr int segment_chunk(std::int64_t columns) {
  return columns <= 64 ? 64 : 128;
}

struct SegmentEntry {
  std::int32_t row;
  std::int32_t vector;  // negative: no entry here
  float coefficient;
};

// As they are found: sorted, but what belongs to them still scattered.
template <typename Coefficient>
struct SegmentEntries {
  static constexpr bool sparse = false;
  const std::int32_t* order;  // [entries] the entry at a sorted position
  const std::int32_t* rows;   // [entries] the row at a sorted position, never decreasing
  const Coefficient* coefficients;
  int per_vector;  // consecutive entries that belong to one vector

  __device__ __forceinline__ std::int32_t row(std::int64_t position) const {
    return rows[position];
  }
  __device__ __forceinline__ SegmentEntry fetch(std::int64_t position) const {
    const std::int32_t entry = order[position];
    float coefficient[1];
    load(coefficients + entry, coefficient);
    return {rows[position], entry / per_vector, coefficient[0]};
  }
};

struct alignas(8) PackedEntry {
  std::int32_t vector;
  float coefficient;
};

struct PackedEntries {
  static constexpr bool sparse = false;
  const PackedEntry* packed;
  const std::int32_t* rows;

  __device__ __forceinline__ std::int32_t row(std::int64_t position) const {
    return rows[position];
  }
  __device__ __forceinline__ SegmentEntry fetch(std::int64_t position) const {
    const PackedEntry entry = packed[position];
    return {rows[position], entry.vector, entry.coefficient};
  }
};

// The partial sums of chunks of `stride` positions. Chunk e has left one if its first row began in
// the chunk before it, as far as the level below saw it: in steps of `stride_below`.
struct PartialEntries {
  static constexpr bool sparse = true;
  const std::int32_t* rows;
  std::int64_t stride, stride_below;

  __device__ __forceinline__ std::int32_t row(std::int64_t e) const { return rows[e * stride]; }
  __device__ __forceinline__ SegmentEntry fetch(std::int64_t e) const {
    const std::int32_t of_chunk = row(e);
    const bool left = e > 0 && rows[e * stride - stride_below] == of_chunk;
    return {of_chunk, left ? static_cast<std::int32_t>(e) : -1, 1.0F};
  }
};

// Working memory of a segmented sum of `entries` vectors of `columns` numbers.
struct SegmentPlan {
  std::int64_t entries, columns;

  SegmentPlan(std::int64_t entry_count, std::int64_t column_count)
      : entries(entry_count), columns(column_count) {}

  // Floats, of all levels.
  std::int64_t partials() const {
    std::int64_t count = 0;
    const int chunk = segment_chunk(columns);
    for (std::int64_t chunks = ceil_divide(entries, chunk); chunks > 1;
         chunks = ceil_divide(chunks, chunk)) {
      count += chunks * columns;
    }
    return count;
  }
  // Blocks of all levels, in whatever pieces their threads take the columns.
  std::int64_t most_blocks() const {
    constexpr int fewest_chunks = 8;    // of a block: a warp for each
    constexpr int fewest_columns = 32;  // of a team
    std::int64_t count = 0;
    std::int64_t size = entries;
    do {
      size = ceil_divide(size, segment_chunk(columns));
      count += ceil_divide(size, fewest_chunks) * ceil_divide(columns, fewest_columns);
    } while (size > 1);
    return count;
  }
};

template <typename Coefficient>
__global__ void __launch_bounds__(256)
    pack_entries_kernel(PackedEntry* packed, SegmentEntries<Coefficient> entries,
                        std::int64_t size) {
  const std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i >= size) return;
  const SegmentEntry entry = entries.fetch(i);
  packed[i] = {entry.vector, entry.coefficient};
}

template <typename Coefficient>
void pack_entries(const char* op, const Context& context, PackedEntry* packed,
                  const SegmentEntries<Coefficient>& entries, std::int64_t size) {
  pack_entries_kernel<<<grid_size(ceil_divide(size, 256)), 256, 0, context.stream>>>(packed,
                                                                                     entries, size);
  MEMENGINE_LAUNCH_CHECK(op);
}

// total [1] = the sum of x [size], in a fixed order.
template <typename Number>
__global__ void __launch_bounds__(1024)
    total_kernel(Number* total, const Number* x, std::int64_t size) {
  Number sum = 0;
  for (std::int64_t i = threadIdx.x; i < size; i += 1024) sum += x[i];
  sum = team_sum<1024>(sum);
  if (threadIdx.x == 0) *total = sum;
}

}  // namespace memengine::cuda
