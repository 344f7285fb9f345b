// What the cache's CUDA files share.
#pragma once

#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/tabulate_output_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <cub/device/device_scan.cuh>

#include "kernels/device_math.cuh"
#include "kernels/runtime/runtime.h"
#include "kernels/table/staged_rows/staged_rows.h"

namespace memengine::cuda {

inline constexpr int staged_threads = 256;

inline unsigned staged_blocks(std::int64_t threads) {
  return grid_size(ceil_divide(threads, staged_threads));
}

__device__ __forceinline__ std::int32_t thread_number() {
  return static_cast<std::int32_t>(blockIdx.x * staged_threads + threadIdx.x);
}

// StagedRows::moves.
struct Moves {
  std::int32_t coming, going;
  std::uint32_t next_share;
};

// StagedRows as the kernels see it.
struct Cache {
  std::int32_t* place_of;
  std::int32_t* row_at;
  std::uint8_t* heat;
  std::int32_t* occupied;
  std::uint32_t* marks;
  std::int32_t* guests;
  std::int32_t* pass;
  std::int32_t* listed;
  std::int32_t* placed;
  std::int32_t* count;
  std::int32_t* coming_rows;
  std::int32_t* coming_places;
  std::int32_t* coming_from;
  std::int32_t* going_rows;
  std::int32_t* going_places;
  Moves* moves;
  std::int32_t capacity;

  Cache() = default;
  explicit Cache(const StagedRows& staged)
      : place_of(staged.place_of.as<std::int32_t>()),
        row_at(staged.row_at.as<std::int32_t>()),
        heat(staged.heat.as<std::uint8_t>()),
        occupied(staged.occupied.as<std::int32_t>()),
        marks(reinterpret_cast<std::uint32_t*>(staged.marks.as<std::int32_t>())),
        guests(staged.guests.empty() ? nullptr : staged.guests.as<std::int32_t>()),
        pass(staged.pass.empty() ? nullptr : staged.pass.as<std::int32_t>()),
        listed(staged.listed.as<std::int32_t>()),
        placed(staged.placed.as<std::int32_t>()),
        count(staged.count.as<std::int32_t>()),
        coming_rows(staged.coming.as<std::int32_t>()),
        coming_places(coming_rows + staged.exchanged()),
        coming_from(coming_places + staged.exchanged()),
        going_rows(staged.going.as<std::int32_t>()),
        going_places(going_rows + staged.exchanged()),
        moves(reinterpret_cast<Moves*>(staged.moves.as<std::int32_t>())),
        capacity(static_cast<std::int32_t>(staged.capacity())) {}

  __device__ bool in_area(std::int32_t place) const { return place >= 0 && place < capacity; }
  __device__ void mark(std::int32_t row) const { atomicOr(&marks[row / 32], 1U << row % 32); }
};

// An inclusive scan of input(i), i < size, whose sums go to write(i, sum).
template <typename Input, typename Write>
cudaError_t scan(void* temporary, std::size_t& bytes, const Input& input, const Write& write,
                 std::int64_t size, cudaStream_t stream) {
  return cub::DeviceScan::InclusiveSum(
      temporary, bytes, thrust::make_transform_iterator(thrust::make_counting_iterator(0), input),
      thrust::make_tabulate_output_iterator(write), static_cast<std::int32_t>(size), stream);
}

// How many of the rows 32 i to 32 i + 31 are marked. The scan of these numbers turns marks, set in
// any order, into an ascending list.
struct MarkedIn {
  const std::uint32_t* marks;
  __device__ std::int32_t operator()(std::int32_t i) const { return __popc(marks[i]); }
};

// body(number in the list, row) for the marked rows of word i, which are cleared; `sum` counts the
// marked rows up to and including the word's.
template <typename Body>
__device__ __forceinline__ void take_marked(std::uint32_t* marks, std::int32_t i, std::int32_t sum,
                                            Body&& body) {
  std::uint32_t word = marks[i];
  if (word == 0) return;
  marks[i] = 0;
  for (std::int32_t number = sum - __popc(word); word != 0; word &= word - 1) {
    body(number++, i * 32 + __ffs(static_cast<int>(word)) - 1);
  }
}

}  // namespace memengine::cuda
