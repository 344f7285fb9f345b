// Who goes, stays and comes: binary searches of the two ascending lists in each other, two scans
// for the ranks of those who go and those who come, and places dealt out by rank.
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/tabulate_output_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <cub/device/device_scan.cuh>

#include "kernels/device_math.cuh"
#include "kernels/runtime/runtime.h"
#include "kernels/table/staged_rows/staged_rows.cuh"

namespace memengine::cuda {
namespace {

constexpr int threads = 256;

// The number of `row` in the list's first `count` rows, or -1.
__device__ __forceinline__ std::int32_t find(const std::int32_t* rows, std::int32_t count,
                                             std::int32_t row) {
  std::int32_t low = 0;
  std::int32_t high = count;
  while (low < high) {
    const std::int32_t middle = low + (high - low) / 2;
    if (rows[middle] < row)
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && rows[low] == row ? low : -1;
}

__global__ void __launch_bounds__(threads)
    empty_kernel(std::int32_t* places, std::int32_t* count, std::int32_t capacity) {
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  if (i < capacity) places[i] = i;
  if (i == 0) *count = 0;
}

__global__ void __launch_bounds__(threads)
    find_kernel(std::int32_t* newer, RowList area, RowList list) {
  const int u = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  if (u >= *list.count) return;
  const std::int32_t i = find(area.rows, *area.count, list.rows[u]);
  newer[u] = i < 0 ? -1 : area.places[i];
}

// What it takes to make the lists of an exchange. S places, lists of L rows.
struct Plan : Exchange {
  std::int32_t* found = nullptr;   // [L]: the number in the area of the list's row, or -1
  std::int32_t* leaves = nullptr;  // [S]: 1 where the area's row is not in the list
  std::int32_t* rows = nullptr;    // [S]: the area's rows and places afterwards
  std::int32_t* places = nullptr;
  std::int32_t* count = nullptr;

  Plan() = default;
  Plan(const StagedRows& staged, Scratch& scratch, std::int64_t listed)
      : Exchange(staged),
        found(scratch.take<std::int32_t>(listed)),
        leaves(scratch.take<std::int32_t>(staged.capacity())),
        rows(scratch.take<std::int32_t>(staged.capacity())),
        places(scratch.take<std::int32_t>(staged.capacity())),
        count(scratch.take<std::int32_t>(1)) {}
};

__global__ void __launch_bounds__(threads) match_kernel(Plan plan, RowList area, RowList list) {
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  const std::int32_t before = *area.count;
  const std::int32_t length = *list.count;
  if (i == 0) *plan.moves = {0, 0, 0};
  if (i < length) plan.found[i] = find(area.rows, before, list.rows[i]);
  if (i < before) plan.leaves[i] = find(list.rows, length, area.rows[i]) < 0 ? 1 : 0;
}

struct Misses {
  const std::int32_t* found;
  const std::int32_t* length;

  __device__ std::int32_t operator()(std::int32_t u) const {
    return u < *length && found[u] < 0 ? 1 : 0;
  }
};

// The i-th place for a row that comes: those that rows leave, then those that were free.
__device__ __forceinline__ std::int32_t free_place(const Plan& plan, const RowList& area,
                                                   std::int32_t i) {
  const std::int32_t going = plan.moves->going;
  return i < going ? plan.going_places[i] : area.places[*area.count + i - going];
}

// Takes, for each row u of the list, how many rows up to and including u are not in the area. Runs
// when it is known who goes.
struct PlaceListed {
  Plan plan;
  RowList area;
  RowList list;
  std::int32_t* listed;
  std::int32_t capacity;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t misses) const {
    const auto u = static_cast<std::int32_t>(index);
    const std::int32_t length = *list.count;
    if (u >= length) return;
    const std::int32_t free = capacity - *area.count + plan.moves->going;
    const std::int32_t number = plan.found[u];
    const bool stays = number >= 0;
    const std::int32_t miss = misses - (stays ? 0 : 1);  // its rank, or how many are before it
    if (!stays && miss >= free) {
      listed[length - 1 - (miss - free)] = u;
    } else {
      const std::int32_t i = u - max(0, miss - free);
      const std::int32_t place = stays ? area.places[number] : free_place(plan, area, miss);
      plan.rows[i] = list.rows[u];
      plan.places[i] = place;
      listed[i] = u;
      if (!stays) {
        plan.coming_rows[miss] = list.rows[u];
        plan.coming_places[miss] = place;
      }
    }
    if (u == length - 1) plan.moves->coming = min(misses, free);
  }
};

struct Leaves {
  const std::int32_t* leaves;
  const std::int32_t* before;

  __device__ std::int32_t operator()(std::int32_t i) const { return i < *before ? leaves[i] : 0; }
};

// Takes, for each row i of the area, how many up to and including i leave.
struct ListGoing {
  Plan plan;
  RowList area;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t leaving) const {
    const auto i = static_cast<std::int32_t>(index);
    const std::int32_t before = *area.count;
    if (i >= before) return;
    if (plan.leaves[i] != 0) {
      plan.going_rows[leaving - 1] = area.rows[i];
      plan.going_places[leaving - 1] = area.places[i];
    }
    if (i == before - 1) plan.moves->going = leaving;
  }
};

// The area's rows, and the free places after those of the rows.
__global__ void __launch_bounds__(threads)
    renew_kernel(Plan plan, RowList area, std::int32_t* rows, std::int32_t capacity) {
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  const std::int32_t coming = plan.moves->coming;
  const std::int32_t after = *area.count - plan.moves->going + coming;
  if (i == 0) *plan.count = after;
  if (i >= capacity) return;
  if (i < after)
    rows[i] = plan.rows[i];
  else
    plan.places[i] = free_place(plan, area, coming + i - after);
}

template <typename Input, typename Write>
cudaError_t scan(void* temporary, std::size_t& bytes, const Input& input, const Write& write,
                 std::int64_t size, cudaStream_t stream) {
  return cub::DeviceScan::InclusiveSum(
      temporary, bytes, thrust::make_transform_iterator(thrust::make_counting_iterator(0), input),
      thrust::make_tabulate_output_iterator(write), static_cast<std::int32_t>(size), stream);
}

std::size_t scan_bytes(std::int64_t capacity, std::int64_t listed) {
  std::size_t of_list = 0;
  std::size_t of_area = 0;
  MEMENGINE_CUDA_CHECK(scan(nullptr, of_list, Misses{}, PlaceListed{}, listed, nullptr));
  MEMENGINE_CUDA_CHECK(scan(nullptr, of_area, Leaves{}, ListGoing{}, capacity, nullptr));
  return std::max(of_list, of_area);
}

}  // namespace

void empty_staging(const Context& context, const StagedRows& staged) {
  empty_kernel<<<grid_size(ceil_divide(staged.capacity(), threads)), threads, 0, context.stream>>>(
      staged.places.as<std::int32_t>(), staged.count.as<std::int32_t>(),
      static_cast<std::int32_t>(staged.capacity()));
  MEMENGINE_LAUNCH_CHECK("empty_staging");
}

void find_staged(const Context& context, Tensor newer, const StagedRows& staged,
                 const UniqueRows& unique) {
  find_kernel<<<grid_size(ceil_divide(unique.capacity(), threads)), threads, 0, context.stream>>>(
      newer.as<std::int32_t>(), list_of(staged), list_of(unique));
  MEMENGINE_LAUNCH_CHECK("find_staged");
}

void plan_exchange(const Context& context, const StagedRows& staged, const UniqueRows& unique) {
  const std::int64_t capacity = staged.capacity();
  const std::int64_t longest = unique.capacity();
  Scratch scratch(context);
  const Plan plan(staged, scratch, longest);
  std::size_t bytes = scan_bytes(capacity, longest);
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));
  const RowList area = list_of(staged);
  const RowList list = list_of(unique);

  match_kernel<<<grid_size(ceil_divide(std::max(capacity, longest), threads)), threads, 0,
                 context.stream>>>(plan, area, list);
  MEMENGINE_LAUNCH_CHECK("plan_exchange: match");
  MEMENGINE_CUDA_CHECK(scan(temporary, bytes, Leaves{plan.leaves, area.count},
                            ListGoing{plan, area}, capacity, context.stream));
  const PlaceListed place{plan, area, list, staged.listed.as<std::int32_t>(),
                          static_cast<std::int32_t>(capacity)};
  MEMENGINE_CUDA_CHECK(
      scan(temporary, bytes, Misses{plan.found, list.count}, place, longest, context.stream));
  renew_kernel<<<grid_size(ceil_divide(capacity, threads)), threads, 0, context.stream>>>(
      plan, area, staged.rows.as<std::int32_t>(), static_cast<std::int32_t>(capacity));
  MEMENGINE_LAUNCH_CHECK("plan_exchange: renew");
  copy_bytes(context, staged.places.data(), plan.places, capacity * 4);
  copy_bytes(context, staged.count.data(), plan.count, 4);
}

std::int64_t plan_exchange_scratch_bytes(std::int64_t places, std::int64_t listed) {
  return scratch_part<std::int32_t>(listed) + 3 * scratch_part<std::int32_t>(places) +
         scratch_part<std::int32_t>(1) +
         scratch_part<std::byte>(static_cast<std::int64_t>(scan_bytes(places, listed)));
}

}  // namespace memengine::cuda
