// Marks, two scans over counts of bits, and three passes over the requests that there are.
#include <algorithm>
#include <cstdint>

#include "kernels/table/spread/merge_requests.h"
#include "kernels/table/staged_rows/staged_rows.cuh"

namespace memengine::cuda {
namespace {

constexpr std::int64_t most_merge_blocks = 1024;

struct Requests {
  const std::int32_t* rows;
  const std::int32_t* count;
  const std::int32_t* begins;
  int ranks;

  // The last rank whose requests begin at or before q.
  __device__ int rank(std::int32_t q) const {
    int rank = 0;
    while (rank + 1 < ranks && q >= begins[2 * (rank + 1)]) ++rank;
    return rank;
  }
};

// Which rows are asked for: marks, and how many of them stand before each word; who asks for each.
struct Asked {
  std::uint32_t* marks;   // [words]
  std::int32_t* before;   // [words]
  std::uint32_t* askers;  // [capacity]

  __device__ std::int32_t number_of_row(std::int32_t row) const {
    return before[row / 32] + __popc(marks[row / 32] & ((1U << row % 32) - 1));
  }
};

template <typename Body>
__device__ void for_each_request(const Requests& requests, Body&& body) {
  const std::int32_t count = *requests.count;
  const auto stride = static_cast<std::int32_t>(gridDim.x * staged_threads);
  for (std::int32_t q = thread_number(); q < count; q += stride) body(q);
}

__global__ void __launch_bounds__(staged_threads)
    mark_asked_kernel(Requests requests, Asked asked) {
  for_each_request(requests, [&](std::int32_t q) {
    const std::int32_t row = requests.rows[q];
    atomicOr(&asked.marks[row / 32], 1U << row % 32);
  });
}

struct ListAsked {
  Asked asked;
  std::int32_t* rows;
  std::int32_t* count;
  std::int32_t words;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t sum) const {
    const auto i = static_cast<std::int32_t>(index);
    std::uint32_t word = asked.marks[i];
    std::int32_t number = sum - __popc(word);
    asked.before[i] = number;
    for (; word != 0; word &= word - 1) {
      rows[number++] = i * 32 + __ffs(static_cast<int>(word)) - 1;
    }
    if (i == words - 1) *count = sum;
  }
};

__global__ void __launch_bounds__(staged_threads)
    ask_kernel(Requests requests, Asked asked, std::int32_t* inverse) {
  for_each_request(requests, [&](std::int32_t q) {
    const std::int32_t u = asked.number_of_row(requests.rows[q]);
    atomicOr(&asked.askers[u], 1U << requests.rank(q));
    if (inverse != nullptr) inverse[q] = u;
  });
}

struct AskersOf {
  const std::uint32_t* askers;
  __device__ std::int32_t operator()(std::int32_t u) const { return __popc(askers[u]); }
};

struct WriteOffsets {
  std::int32_t* offsets;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t sum) const {
    if (index == 0) offsets[0] = 0;
    offsets[index + 1] = sum;
  }
};

__global__ void __launch_bounds__(staged_threads)
    order_kernel(Requests requests, Asked asked, std::int32_t* order, const std::int32_t* offsets) {
  for_each_request(requests, [&](std::int32_t q) {
    const std::int32_t u = asked.number_of_row(requests.rows[q]);
    const std::uint32_t lower = asked.askers[u] & ((1U << requests.rank(q)) - 1);
    order[offsets[u] + __popc(lower)] = q;
  });
}

std::int64_t words_of_part(std::int64_t part_rows) {
  return ceil_divide(part_rows, 32);
}

std::size_t merge_scan_bytes(std::int64_t capacity, std::int64_t part_rows) {
  std::size_t of_words = 0;
  std::size_t of_rows = 0;
  MEMENGINE_CUDA_CHECK(
      scan(nullptr, of_words, MarkedIn{}, ListAsked{}, words_of_part(part_rows), nullptr));
  MEMENGINE_CUDA_CHECK(scan(nullptr, of_rows, AskersOf{}, WriteOffsets{}, capacity, nullptr));
  return std::max(of_words, of_rows);
}

}  // namespace

void merge_requests(const Context& context, const UniqueRows& owned, Tensor requests, Tensor count,
                    Tensor begins, std::int64_t part_rows) {
  const std::int64_t words = words_of_part(part_rows);
  const std::int64_t capacity = owned.capacity();
  Scratch scratch(context);
  const Tensor marks(scratch.take<std::int32_t>(words), DType::i32, {words});
  const Tensor askers(scratch.take<std::int32_t>(capacity), DType::i32, {capacity});
  const Asked asked{reinterpret_cast<std::uint32_t*>(marks.as<std::int32_t>()),
                    scratch.take<std::int32_t>(words),
                    reinterpret_cast<std::uint32_t*>(askers.as<std::int32_t>())};
  std::size_t bytes = merge_scan_bytes(capacity, part_rows);
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));
  const Requests all{requests.as<std::int32_t>(), count.as<std::int32_t>(),
                     begins.as<std::int32_t>(), static_cast<int>(begins.dim(0))};
  const auto blocks = grid_size(
      std::clamp<std::int64_t>(ceil_divide(requests.size(), staged_threads), 1, most_merge_blocks));
  memengine::fill_zero(context, marks);
  memengine::fill_zero(context, askers);
  mark_asked_kernel<<<blocks, staged_threads, 0, context.stream>>>(all, asked);
  MEMENGINE_LAUNCH_CHECK("merge_requests: mark");
  MEMENGINE_CUDA_CHECK(
      scan(temporary, bytes, MarkedIn{asked.marks},
           ListAsked{asked, owned.rows.as<std::int32_t>(), owned.count.as<std::int32_t>(),
                     static_cast<std::int32_t>(words)},
           words, context.stream));
  ask_kernel<<<blocks, staged_threads, 0, context.stream>>>(
      all, asked, owned.inverse.empty() ? nullptr : owned.inverse.as<std::int32_t>());
  MEMENGINE_LAUNCH_CHECK("merge_requests: ask");
  MEMENGINE_CUDA_CHECK(scan(temporary, bytes, AskersOf{asked.askers},
                            WriteOffsets{owned.offsets.as<std::int32_t>()}, capacity,
                            context.stream));
  order_kernel<<<blocks, staged_threads, 0, context.stream>>>(
      all, asked, owned.order.as<std::int32_t>(), owned.offsets.as<std::int32_t>());
  MEMENGINE_LAUNCH_CHECK("merge_requests: order");
}

std::int64_t merge_requests_scratch_bytes(std::int64_t capacity, std::int64_t part_rows) {
  return 2 * scratch_part<std::int32_t>(words_of_part(part_rows)) +
         scratch_part<std::int32_t>(capacity) +
         scratch_part<std::byte>(static_cast<std::int64_t>(merge_scan_bytes(capacity, part_rows)));
}

}  // namespace memengine::cuda
