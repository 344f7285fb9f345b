// What lookups ask of the cache: rows' places, and guests.
//
// Picks whose row is not here set the row's bit; a scan over the bits makes the ascending list of
// new guests, each row once, without sorting.
#include "kernels/runtime/runtime.h"
#include "kernels/table/staged_rows/staged_rows.cuh"

namespace memengine::cuda {
namespace {

__global__ void __launch_bounds__(staged_threads)
    find_kernel(std::int32_t* newer, Cache cache, const std::int32_t* rows,
                const std::int32_t* count) {
  const std::int32_t u = thread_number();
  if (u >= *count) return;
  const std::int32_t place = cache.place_of[rows[u]];
  newer[u] = cache.in_area(place) ? place : -1;
}

__global__ void __launch_bounds__(staged_threads) forget_kernel(Cache cache) {
  const std::int32_t count = cache.pass[1];
  const auto stride = static_cast<std::int32_t>(gridDim.x * staged_threads);
  for (std::int32_t g = thread_number(); g < count; g += stride) {
    std::int32_t& place = cache.place_of[cache.guests[g]];
    if (place >= cache.capacity) place = -1;
  }
}

// How many of `size` picks count: all, unless a number in device memory says so.
__device__ std::int64_t counted(std::int64_t size, const std::int32_t* count) {
  return count == nullptr ? size : min(size, std::int64_t{*count});
}

// Four picks a thread.
__global__ void __launch_bounds__(staged_threads)
    mark_kernel(Cache cache, const std::int32_t* picks, std::int64_t size,
                const std::int32_t* some) {
  const std::int64_t count = counted(size, some);
  if (blockIdx.x == 0 && threadIdx.x == 0) cache.pass[0] = cache.pass[1];
  const std::int64_t first = std::int64_t{thread_number()} * 4;
  for (std::int64_t p = first; p < min(first + 4, count); ++p) {
    const std::int32_t row = picks[p];
    if (cache.place_of[row] >= 0) continue;
    // Most picks of a row that is missing find its bit set.
    if ((cache.marks[row / 32] >> row % 32 & 1U) == 0) cache.mark(row);
  }
}

struct Invite {
  Cache cache;
  std::int32_t words;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t sum) const {
    const auto i = static_cast<std::int32_t>(index);
    const std::int32_t before = cache.pass[0];
    take_marked(cache.marks, i, sum, [&](std::int32_t number, std::int32_t row) {
      cache.guests[before + number] = row;
      cache.place_of[row] = cache.capacity + before + number;
    });
    if (i == words - 1) cache.pass[1] = before + sum;
  }
};

__global__ void __launch_bounds__(staged_threads)
    place_kernel(std::int32_t* places, const std::int32_t* picks, std::int64_t size,
                 const std::int32_t* some, const std::int32_t* place_of) {
  const std::int64_t count = counted(size, some);
  const std::int64_t first = std::int64_t{thread_number()} * 4;
#pragma unroll
  for (std::int64_t i = 0; i < 4; ++i) {
    if (first + i < count) places[first + i] = place_of[picks[first + i]];
  }
}

const std::int32_t* number_of(const Tensor& count) {
  return count.empty() ? nullptr : count.as<std::int32_t>();
}

std::int64_t words_of(std::int64_t table_rows) {
  return ceil_divide(table_rows, 32);
}

}  // namespace

void find_staged(const Context& context, Tensor newer, const StagedRows& staged,
                 const UniqueRows& unique) {
  find_kernel<<<staged_blocks(unique.capacity()), staged_threads, 0, context.stream>>>(
      newer.as<std::int32_t>(), Cache(staged), unique.rows.as<std::int32_t>(),
      unique.count.as<std::int32_t>());
  MEMENGINE_LAUNCH_CHECK("find_staged");
}

void forget_guests(const Context& context, const StagedRows& staged) {
  constexpr std::int64_t most_blocks = 512;
  const std::int64_t blocks = ceil_divide(staged.guest_capacity(), staged_threads);
  forget_kernel<<<grid_size(std::min(blocks, most_blocks)), staged_threads, 0, context.stream>>>(
      Cache(staged));
  MEMENGINE_LAUNCH_CHECK("forget_guests");
  memengine::fill_zero(context, staged.pass);
}

void invite_guests(const Context& context, const StagedRows& staged, Tensor picks, Tensor count) {
  const Cache cache(staged);
  mark_kernel<<<staged_blocks(ceil_divide(picks.size(), 4)), staged_threads, 0, context.stream>>>(
      cache, picks.as<std::int32_t>(), picks.size(), number_of(count));
  MEMENGINE_LAUNCH_CHECK("invite_guests");
  const std::int64_t words = words_of(staged.place_of.size());
  Scratch scratch(context);
  auto bytes = static_cast<std::size_t>(invite_guests_scratch_bytes(staged.place_of.size()));
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));
  MEMENGINE_CUDA_CHECK(scan(temporary, bytes, MarkedIn{cache.marks},
                            Invite{cache, static_cast<std::int32_t>(words)}, words,
                            context.stream));
}

std::int64_t invite_guests_scratch_bytes(std::int64_t table_rows) {
  std::size_t bytes = 0;
  MEMENGINE_CUDA_CHECK(scan(nullptr, bytes, MarkedIn{}, Invite{}, words_of(table_rows), nullptr));
  return scratch_part<std::byte>(static_cast<std::int64_t>(bytes));
}

void place_picks(const Context& context, Tensor places, Tensor picks, const StagedRows& staged,
                 Tensor count) {
  place_kernel<<<staged_blocks(ceil_divide(picks.size(), 4)), staged_threads, 0, context.stream>>>(
      places.as<std::int32_t>(), picks.as<std::int32_t>(), picks.size(), number_of(count),
      staged.place_of.as<std::int32_t>());
  MEMENGINE_LAUNCH_CHECK("place_picks");
}

}  // namespace memengine::cuda
