// Spread numbers on CUDA: a pass over the picks, and a search for each owner's end.
#include "kernels/device_math.cuh"
#include "kernels/table/spread/row_owners.h"

namespace memengine::cuda {
namespace {

constexpr int owner_threads = 256;

__global__ void __launch_bounds__(owner_threads)
    spread_kernel(std::int32_t* numbers, const std::int32_t* picks, std::int64_t size,
                  std::uint32_t ranks, std::uint32_t part) {
  const std::int64_t p = std::int64_t{blockIdx.x} * owner_threads + threadIdx.x;
  if (p >= size) return;
  const auto row = static_cast<std::uint32_t>(picks[p]);
  numbers[p] = static_cast<std::int32_t>(row % ranks * part + row / ranks);
}

// The place of the first number at or past `bound`.
__device__ std::int32_t first_at(const std::int32_t* numbers, std::int32_t count,
                                 std::int64_t bound) {
  std::int32_t low = 0;
  std::int32_t high = count;
  while (low < high) {
    const std::int32_t middle = low + (high - low) / 2;
    if (numbers[middle] < bound)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

__global__ void __launch_bounds__(owner_threads)
    count_kernel(std::int32_t* counts, const std::int32_t* numbers, const std::int32_t* count,
                 std::int64_t ranks, std::int64_t part) {
  const std::int64_t rank = std::int64_t{blockIdx.x} * owner_threads + threadIdx.x;
  if (rank >= ranks) return;
  counts[rank] =
      first_at(numbers, *count, (rank + 1) * part) - first_at(numbers, *count, rank * part);
}

__global__ void __launch_bounds__(owner_threads)
    settle_kernel(std::int32_t* rows, std::int32_t* count, std::int32_t size, std::int32_t first) {
  const auto q = static_cast<std::int32_t>(blockIdx.x * owner_threads + threadIdx.x);
  if (q == 0) *count = size;
  if (q < size) rows[q] -= first;
}

}  // namespace

void spread_numbers(const Context& context, Tensor out, Tensor picks, const RowOwners& owners) {
  const std::int64_t size = picks.size();
  if (size == 0) return;
  spread_kernel<<<grid_size(ceil_divide(size, owner_threads)), owner_threads, 0, context.stream>>>(
      out.as<std::int32_t>(), picks.as<std::int32_t>(), size,
      static_cast<std::uint32_t>(owners.ranks), static_cast<std::uint32_t>(owners.part()));
  MEMENGINE_LAUNCH_CHECK("spread_numbers");
}

void count_by_owner(const Context& context, Tensor counts, const UniqueRows& unique,
                    const RowOwners& owners) {
  count_kernel<<<grid_size(ceil_divide(owners.ranks, owner_threads)), owner_threads, 0,
                 context.stream>>>(counts.as<std::int32_t>(), unique.rows.as<std::int32_t>(),
                                   unique.count.as<std::int32_t>(), owners.ranks, owners.part());
  MEMENGINE_LAUNCH_CHECK("count_by_owner");
}

void settle_requests(const Context& context, Tensor rows, Tensor count, const RowOwners& owners,
                     std::int64_t owner) {
  const std::int64_t size = rows.size();
  settle_kernel<<<grid_size(std::max<std::int64_t>(ceil_divide(size, owner_threads), 1)),
                  owner_threads, 0, context.stream>>>(
      rows.as<std::int32_t>(), count.as<std::int32_t>(), static_cast<std::int32_t>(size),
      static_cast<std::int32_t>(owner * owners.part()));
  MEMENGINE_LAUNCH_CHECK("settle_requests");
}

}  // namespace memengine::cuda
