// The same on the GPU, without a look from the host: the list's rows are sorted by score (stable,
// so that of equal scores the lower row stays first), the first `most` are marked, and one scan
// over the marks, which adds up rows and picks in the two halves of one number, gives every chosen
// row its place and its picks theirs. Then each pick of the whole list goes where its row has gone.
#include "kernels/table/choose_rows.h"

#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/tabulate_output_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <algorithm>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int choose_threads = 256;

// Ascending keys are descending scores; places past the list's end come last.
__global__ void __launch_bounds__(choose_threads)
    score_kernel(std::uint32_t* keys, std::int32_t* numbers, std::int32_t* marks,
                 const std::int32_t* rows, const std::int32_t* offsets, const std::int32_t* count,
                 const std::int32_t* frequency, const float* rarity, std::int32_t capacity) {
  const int u = static_cast<int>(blockIdx.x * choose_threads + threadIdx.x);
  if (u >= capacity) return;
  numbers[u] = u;
  marks[u] = 0;
  keys[u] = 0xffffffffU;
  if (u >= *count) return;
  const float score = static_cast<float>(offsets[u + 1] - offsets[u]) * rarity[frequency[rows[u]]];
  keys[u] = ~__float_as_uint(score);
}

__global__ void __launch_bounds__(choose_threads)
    mark_kernel(std::int32_t* marks, const std::int32_t* best, const std::int32_t* count,
                std::int32_t most) {
  const int rank = static_cast<int>(blockIdx.x * choose_threads + threadIdx.x);
  if (rank < most && rank < *count) marks[best[rank]] = 1;
}

// Of a marked row: one row in the upper half, its picks in the lower.
struct Marked {
  const std::int32_t* marks;
  const std::int32_t* offsets;

  __device__ std::uint64_t operator()(std::int32_t u) const {
    if (marks[u] == 0) return 0;
    return (std::uint64_t{1} << 32) + static_cast<std::uint32_t>(offsets[u + 1] - offsets[u]);
  }
};

// Takes the sum up to and including row u of the list.
struct WriteChosen {
  const std::int32_t* marks;
  const std::int32_t* all_rows;
  const std::int32_t* all_offsets;
  std::int32_t* rows;
  std::int32_t* count;
  std::int32_t* offsets;
  std::int32_t* place;  // [capacity] of a marked row; -1: not marked
  std::int32_t capacity;

  template <typename Index>
  __device__ void operator()(Index index, std::uint64_t sum) const {
    const auto u = static_cast<std::int32_t>(index);
    const auto chosen = static_cast<std::int32_t>(sum >> 32);
    const auto picks = static_cast<std::int32_t>(sum & 0xffffffffU);
    place[u] = marks[u] == 0 ? -1 : chosen - 1;
    if (marks[u] != 0) {
      rows[chosen - 1] = all_rows[u];
      offsets[chosen - 1] = picks - (all_offsets[u + 1] - all_offsets[u]);
    }
    if (u == capacity - 1) {
      *count = chosen;
      offsets[chosen] = picks;
    }
  }
};

__global__ void __launch_bounds__(choose_threads)
    clear_kernel(std::int32_t* order, std::int32_t* places, std::int32_t picks) {
  const int i = static_cast<int>(blockIdx.x * choose_threads + threadIdx.x);
  if (i >= picks) return;
  order[i] = 0;
  places[i] = 0x7fffffff;
}

__global__ void __launch_bounds__(choose_threads)
    move_kernel(std::int32_t* order, std::int32_t* places, const std::int32_t* offsets,
                const std::int32_t* place, const std::int32_t* all_order,
                const std::int32_t* all_places, const std::int32_t* all_offsets,
                std::int32_t picks) {
  const int i = static_cast<int>(blockIdx.x * choose_threads + threadIdx.x);
  if (i >= picks) return;
  const std::int32_t u = all_places[i];
  if (place[u] < 0) return;
  const std::int32_t to = offsets[place[u]] + (i - all_offsets[u]);
  order[to] = all_order[i];
  places[to] = place[u];
}

cudaError_t sort(void* temporary, std::size_t& bytes, const std::uint32_t* keys,
                 std::uint32_t* sorted, const std::int32_t* numbers, std::int32_t* best,
                 std::int32_t size, cudaStream_t stream) {
  return cub::DeviceRadixSort::SortPairs(temporary, bytes, keys, sorted, numbers, best, size, 0, 32,
                                         stream);
}

cudaError_t scan_marked(void* temporary, std::size_t& bytes, const Marked& marked,
                        const WriteChosen& write, cudaStream_t stream) {
  const auto marks = thrust::make_transform_iterator(thrust::make_counting_iterator(0), marked);
  return cub::DeviceScan::InclusiveSum(temporary, bytes, marks,
                                       thrust::make_tabulate_output_iterator(write), write.capacity,
                                       stream);
}

std::size_t temporary_bytes(std::int64_t capacity) {
  std::size_t sort_bytes = 0;
  std::size_t scan_bytes = 0;
  WriteChosen write{};
  write.capacity = static_cast<std::int32_t>(capacity);
  MEMENGINE_CUDA_CHECK(
      sort(nullptr, sort_bytes, nullptr, nullptr, nullptr, nullptr, write.capacity, nullptr));
  MEMENGINE_CUDA_CHECK(scan_marked(nullptr, scan_bytes, Marked{}, write, nullptr));
  return std::max(sort_bytes, scan_bytes);
}

}  // namespace

void choose_rows(const Context& context, const UniqueRows& chosen, const UniqueRows& unique,
                 const BackgroundUse& background, std::int64_t most) {
  const std::int64_t capacity = unique.capacity();
  const std::int64_t picks = unique.order.size();
  Scratch scratch(context);
  auto* keys = scratch.take<std::uint32_t>(capacity);
  auto* sorted = scratch.take<std::uint32_t>(capacity);
  auto* numbers = scratch.take<std::int32_t>(capacity);
  auto* best = scratch.take<std::int32_t>(capacity);
  auto* marks = scratch.take<std::int32_t>(capacity);
  std::size_t bytes = temporary_bytes(capacity);
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));
  auto* place = numbers;  // the sort has read them

  const auto* all_offsets = unique.offsets.as<std::int32_t>();
  const auto* count = unique.count.as<std::int32_t>();
  const auto size = static_cast<std::int32_t>(capacity);
  const auto blocks = grid_size(ceil_divide(capacity, choose_threads));
  score_kernel<<<blocks, choose_threads, 0, context.stream>>>(
      keys, numbers, marks, unique.rows.as<std::int32_t>(), all_offsets, count,
      background.document_frequency.as<std::int32_t>(), background.rarity.as<float>(), size);
  MEMENGINE_LAUNCH_CHECK("choose_rows");
  MEMENGINE_CUDA_CHECK(sort(temporary, bytes, keys, sorted, numbers, best, size, context.stream));
  mark_kernel<<<blocks, choose_threads, 0, context.stream>>>(
      marks, best, count, static_cast<std::int32_t>(std::min(most, capacity)));
  const WriteChosen write{marks,
                          unique.rows.as<std::int32_t>(),
                          all_offsets,
                          chosen.rows.as<std::int32_t>(),
                          chosen.count.as<std::int32_t>(),
                          chosen.offsets.as<std::int32_t>(),
                          place,
                          size};
  MEMENGINE_CUDA_CHECK(
      scan_marked(temporary, bytes, Marked{marks, all_offsets}, write, context.stream));
  const auto pick_blocks = grid_size(ceil_divide(picks, choose_threads));
  const auto pick_count = static_cast<std::int32_t>(picks);
  auto* order = chosen.order.as<std::int32_t>();
  auto* places = chosen.places.as<std::int32_t>();
  clear_kernel<<<pick_blocks, choose_threads, 0, context.stream>>>(order, places, pick_count);
  move_kernel<<<pick_blocks, choose_threads, 0, context.stream>>>(
      order, places, chosen.offsets.as<std::int32_t>(), place, unique.order.as<std::int32_t>(),
      unique.places.as<std::int32_t>(), all_offsets, pick_count);
  MEMENGINE_LAUNCH_CHECK("choose_rows");
}

std::int64_t choose_rows_scratch_bytes(std::int64_t capacity) {
  return 2 * scratch_part<std::uint32_t>(capacity) + 3 * scratch_part<std::int32_t>(capacity) +
         scratch_part<std::byte>(static_cast<std::int64_t>(temporary_bytes(capacity)));
}

}  // namespace memengine::cuda
