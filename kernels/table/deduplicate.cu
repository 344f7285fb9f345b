// De-duplication by sorting. (row, pick) pairs are sorted by row, over only as many bits as the
// table has rows (20 bits, three passes, for a million rows); the sort is stable, so equal rows
// stay in pick order. Then one scan counts where a new row begins. The scan's running count is the
// place of a row in the list, so its output is not stored but turned into the whole result on the
// spot: each position writes its part of rows, offsets, inverse and places.
#include "kernels/table/deduplicate.h"

#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/tabulate_output_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <bit>
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int count_threads = 256;

int row_bits(std::int64_t table_rows) {
  return std::max(1, static_cast<int>(std::bit_width(static_cast<std::uint64_t>(table_rows - 1))));
}

__global__ void __launch_bounds__(count_threads)
    count_up_kernel(std::int32_t* positions, int size) {
  const int i = static_cast<int>(blockIdx.x * count_threads + threadIdx.x);
  if (i < size) positions[i] = i;
}

// 1 where a new row begins in the sorted picks.
struct BeginsRow {
  const std::uint32_t* sorted;

  __device__ std::int32_t operator()(std::int32_t i) const {
    return i == 0 || sorted[i] != sorted[i - 1] ? 1 : 0;
  }
};

// Takes the number of rows begun up to and including position i.
struct WriteUnique {
  const std::uint32_t* sorted;
  const std::int32_t* order;
  std::int32_t* rows;
  std::int32_t* count;
  std::int32_t* offsets;
  std::int32_t* inverse;  // may be null
  std::int32_t* places;   // may be null
  std::int32_t picks;

  template <typename Index>
  __device__ void operator()(Index position, std::int32_t begun) const {
    const std::int32_t i = static_cast<std::int32_t>(position);
    const std::int32_t place = begun - 1;
    const std::uint32_t row = sorted[i];
    if (i == 0 || sorted[i - 1] != row) {
      rows[place] = static_cast<std::int32_t>(row);
      offsets[place] = i;
    }
    if (inverse != nullptr) inverse[order[i]] = place;
    if (places != nullptr) places[i] = place;
    if (i == picks - 1) {
      *count = begun;
      offsets[begun] = picks;
    }
  }
};

cudaError_t sort(void* temporary, std::size_t& bytes, const std::uint32_t* picks,
                 std::uint32_t* sorted, const std::int32_t* positions, std::int32_t* order,
                 std::int32_t size, int bits, cudaStream_t stream) {
  return cub::DeviceRadixSort::SortPairs(temporary, bytes, picks, sorted, positions, order, size, 0,
                                         bits, stream);
}

cudaError_t scan_unique(void* temporary, std::size_t& bytes, const WriteUnique& write,
                        cudaStream_t stream) {
  const auto begins =
      thrust::make_transform_iterator(thrust::make_counting_iterator(0), BeginsRow{write.sorted});
  return cub::DeviceScan::InclusiveSum(
      temporary, bytes, begins, thrust::make_tabulate_output_iterator(write), write.picks, stream);
}

std::size_t temporary_bytes(std::int64_t picks, std::int64_t table_rows) {
  std::size_t sort_bytes = 0;
  std::size_t scan_bytes = 0;
  WriteUnique write{};
  write.picks = static_cast<std::int32_t>(picks);
  MEMENGINE_CUDA_CHECK(sort(nullptr, sort_bytes, nullptr, nullptr, nullptr, nullptr, write.picks,
                            row_bits(table_rows), nullptr));
  MEMENGINE_CUDA_CHECK(scan_unique(nullptr, scan_bytes, write, nullptr));
  return std::max(sort_bytes, scan_bytes);
}

}  // namespace

void deduplicate(const Context& context, const UniqueRows& unique, Tensor picks,
                 std::int64_t table_rows) {
  const std::int64_t size = picks.size();
  if (size == 0) {
    MEMENGINE_CUDA_CHECK(
        cudaMemsetAsync(unique.count.data(), 0, sizeof(std::int32_t), context.stream));
    MEMENGINE_CUDA_CHECK(
        cudaMemsetAsync(unique.offsets.data(), 0, sizeof(std::int32_t), context.stream));
    return;
  }
  Scratch scratch(context);
  auto* sorted = scratch.take<std::uint32_t>(size);
  auto* positions = scratch.take<std::int32_t>(size);
  std::size_t bytes = temporary_bytes(size, table_rows);
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));

  WriteUnique write{};
  write.sorted = sorted;
  write.order = unique.order.as<std::int32_t>();
  write.rows = unique.rows.as<std::int32_t>();
  write.count = unique.count.as<std::int32_t>();
  write.offsets = unique.offsets.as<std::int32_t>();
  if (!unique.inverse.empty()) write.inverse = unique.inverse.as<std::int32_t>();
  if (!unique.places.empty()) write.places = unique.places.as<std::int32_t>();
  write.picks = static_cast<std::int32_t>(size);

  count_up_kernel<<<grid_size(ceil_divide(size, count_threads)), count_threads, 0,
                    context.stream>>>(positions, write.picks);
  MEMENGINE_LAUNCH_CHECK("deduplicate");
  MEMENGINE_CUDA_CHECK(sort(temporary, bytes,
                            reinterpret_cast<const std::uint32_t*>(picks.as<std::int32_t>()),
                            sorted, positions, unique.order.as<std::int32_t>(), write.picks,
                            row_bits(table_rows), context.stream));
  MEMENGINE_CUDA_CHECK(scan_unique(temporary, bytes, write, context.stream));
}

std::int64_t deduplicate_scratch_bytes(std::int64_t picks, std::int64_t table_rows) {
  if (picks == 0) return 0;
  return 2 * scratch_part<std::int32_t>(picks) +
         scratch_part<std::byte>(static_cast<std::int64_t>(temporary_bytes(picks, table_rows)));
}

}  // namespace memengine::cuda
