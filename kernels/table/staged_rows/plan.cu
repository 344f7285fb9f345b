// Who goes, stays and comes. Rows know their places, so nothing is searched: the step's rows mark
// the places that they use, a histogram of the others' heat says how warm a row may be and go, and
// scans turn marks into lists in the order of rows, which is the order that a link's address
// translation likes.
#include "kernels/runtime/runtime.h"
#include "kernels/table/staged_rows/row_heat.h"
#include "kernels/table/staged_rows/staged_rows.cuh"

namespace memengine::cuda {
namespace {

// How many rows of the list are where, and who may go.
struct Counts {
  std::int32_t hits;
  std::int32_t level;     // colder rows go all,
  std::int32_t of_level;  // of those as warm as that the first so many
  std::int32_t at_level[heat_levels];
};

struct Plan {
  Cache cache;
  const std::int32_t* rows;    // the step's list
  const std::int32_t* length;  // of it
  std::uint8_t* used;          // [S]
  Counts* counts;
};

__global__ void __launch_bounds__(staged_threads) match_kernel(Plan plan) {
  const std::int32_t u = thread_number();
  bool hit = false;
  if (u < *plan.length) {
    const std::int32_t place = plan.cache.place_of[plan.rows[u]];
    hit = plan.cache.in_area(place);
    if (hit) plan.used[place] = 1;
  }
  const int hits = __syncthreads_count(hit);
  if (threadIdx.x == 0 && hits > 0) atomicAdd(&plan.counts->hits, hits);
}

__global__ void __launch_bounds__(staged_threads) cool_kernel(Plan plan) {
  static_assert(staged_threads == heat_levels);
  __shared__ std::int32_t at_level[heat_levels];
  at_level[threadIdx.x] = 0;
  __syncthreads();
  const std::int32_t occupied = *plan.cache.occupied;
  const auto stride = static_cast<std::int32_t>(gridDim.x * staged_threads);
  for (std::int32_t place = thread_number(); place < occupied; place += stride) {
    const bool used = plan.used[place] != 0;
    const int heat = next_heat(plan.cache.heat[place], used);
    plan.cache.heat[place] = static_cast<std::uint8_t>(heat);
    if (!used) atomicAdd(&at_level[heat], 1);
  }
  __syncthreads();
  const std::int32_t here = at_level[threadIdx.x];
  if (here != 0) atomicAdd(&plan.counts->at_level[threadIdx.x], here);
}

// One thread: 256 numbers.
__global__ void __launch_bounds__(1) choose_kernel(Plan plan) {
  Counts& counts = *plan.counts;
  const std::int32_t occupied = *plan.cache.occupied;
  const std::int32_t free = plan.cache.capacity - occupied;
  const std::int32_t misses = *plan.length - counts.hits;
  const std::int32_t going = max(0, min(misses - free, occupied - counts.hits));
  const std::int32_t coming = min(misses, free + going);
  std::int32_t colder = 0;
  int level = 0;
  if (going > 0) {
    while (level < heat_levels - 1 && colder + counts.at_level[level] < going) {
      colder += counts.at_level[level++];
    }
  }
  counts.level = level;
  counts.of_level = going - colder;
  *plan.cache.moves = {coming, going, 0};
}

struct OfLevel {
  Plan plan;
  __device__ bool may_go(std::int32_t place) const {
    return place < *plan.cache.occupied && plan.used[place] == 0;
  }
  __device__ std::int32_t operator()(std::int32_t place) const {
    return may_go(place) && plan.cache.heat[place] == plan.counts->level ? 1 : 0;
  }
};

// Marks the rows that go, in the scan that counts the places at the last level.
struct MarkGoing {
  OfLevel of_level;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t number) const {
    const auto place = static_cast<std::int32_t>(index);
    const Plan& plan = of_level.plan;
    if (plan.cache.moves->going == 0 || !of_level.may_go(place)) return;
    const int heat = plan.cache.heat[place];
    const int level = plan.counts->level;
    if (heat < level || (heat == level && number <= plan.counts->of_level)) {
      plan.cache.mark(plan.cache.row_at[place]);
    }
  }
};

struct ListGoing {
  Cache cache;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t sum) const {
    take_marked(cache.marks, static_cast<std::int32_t>(index), sum,
                [&](std::int32_t number, std::int32_t row) {
                  cache.going_rows[number] = row;
                  cache.going_places[number] = cache.place_of[row];
                  cache.place_of[row] = -1;
                });
  }
};

struct Misses {
  Plan plan;

  __device__ std::int32_t operator()(std::int32_t u) const {
    return u < *plan.length && !plan.cache.in_area(plan.cache.place_of[plan.rows[u]]) ? 1 : 0;
  }
};

// Takes, for each row u of the list, how many rows up to and including u were missed. They are
// numbered before any of them gets its place: place_of changes in place_kernel.
struct NumberMisses {
  std::int32_t* numbers;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t misses) const {
    numbers[index] = misses;
  }
};

__global__ void __launch_bounds__(staged_threads)
    place_kernel(Plan plan, const std::int32_t* numbers) {
  const std::int32_t u = thread_number();
  const std::int32_t length = *plan.length;
  const Cache& cache = plan.cache;
  const std::int32_t coming = cache.moves->coming;
  const std::int32_t going = cache.moves->going;
  if (u == 0) *cache.count = plan.counts->hits + coming;
  if (u >= length) return;
  const std::int32_t row = plan.rows[u];
  const std::int32_t before = cache.place_of[row];
  const bool stays = cache.in_area(before);
  const std::int32_t miss = numbers[u] - (stays ? 0 : 1);  // its number, or how many are before it
  if (!stays && miss >= coming) {
    cache.listed[length - 1 - (miss - coming)] = u;
    return;
  }
  std::int32_t place = before;
  if (!stays) {
    place = miss < going ? cache.going_places[miss] : *cache.occupied + miss - going;
    cache.coming_rows[miss] = row;
    cache.coming_places[miss] = place;
    cache.coming_from[miss] = before;
    cache.place_of[row] = place;
    cache.row_at[place] = row;
    cache.heat[place] = heat_of_a_use;
  }
  const std::int32_t i = u - max(0, miss - coming);
  cache.listed[i] = u;
  cache.placed[i] = place;
}

__global__ void __launch_bounds__(1) occupy_kernel(Cache cache) {
  *cache.occupied += cache.moves->coming - cache.moves->going;
}

std::size_t scan_bytes(const StagedSize& size) {
  std::size_t of_area = 0;
  std::size_t of_table = 0;
  std::size_t of_list = 0;
  MEMENGINE_CUDA_CHECK(scan(nullptr, of_area, OfLevel{}, MarkGoing{}, size.places, nullptr));
  MEMENGINE_CUDA_CHECK(
      scan(nullptr, of_table, MarkedIn{}, ListGoing{}, ceil_divide(size.table_rows, 32), nullptr));
  MEMENGINE_CUDA_CHECK(scan(nullptr, of_list, Misses{}, NumberMisses{}, size.listed, nullptr));
  return std::max({of_area, of_table, of_list});
}

}  // namespace

void empty_staging(const Context& context, const StagedRows& staged) {
  MEMENGINE_CUDA_CHECK(cudaMemsetAsync(staged.place_of.data(), 0xff,
                                       static_cast<std::size_t>(staged.place_of.bytes()),
                                       context.stream));
}

void plan_exchange(const Context& context, const StagedRows& staged, const UniqueRows& unique) {
  const StagedSize size = {.places = staged.capacity(),
                           .guests = 0,
                           .listed = unique.capacity(),
                           .table_rows = staged.place_of.size()};
  Scratch scratch(context);
  const Tensor counts(scratch.take<std::int32_t>(sizeof(Counts) / 4), DType::i32,
                      {sizeof(Counts) / 4});
  const Tensor used(scratch.take<std::uint8_t>(size.places), DType::u8, {size.places});
  auto* numbers = scratch.take<std::int32_t>(size.listed);
  std::size_t bytes = scan_bytes(size);
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));
  const Plan plan = {.cache = Cache(staged),
                     .rows = unique.rows.as<std::int32_t>(),
                     .length = unique.count.as<std::int32_t>(),
                     .used = used.as<std::uint8_t>(),
                     .counts = reinterpret_cast<Counts*>(counts.as<std::int32_t>())};
  constexpr std::int64_t most_blocks = 264;

  memengine::fill_zero(context, counts);
  memengine::fill_zero(context, used);
  const unsigned list_blocks = staged_blocks(size.listed);
  match_kernel<<<list_blocks, staged_threads, 0, context.stream>>>(plan);
  MEMENGINE_LAUNCH_CHECK("plan_exchange: match");
  const std::int64_t blocks = ceil_divide(size.places, staged_threads);
  cool_kernel<<<grid_size(std::min(blocks, most_blocks)), staged_threads, 0, context.stream>>>(
      plan);
  MEMENGINE_LAUNCH_CHECK("plan_exchange: cool");
  choose_kernel<<<1, 1, 0, context.stream>>>(plan);
  MEMENGINE_LAUNCH_CHECK("plan_exchange: choose");
  MEMENGINE_CUDA_CHECK(
      scan(temporary, bytes, OfLevel{plan}, MarkGoing{{plan}}, size.places, context.stream));
  MEMENGINE_CUDA_CHECK(scan(temporary, bytes, MarkedIn{plan.cache.marks}, ListGoing{plan.cache},
                            ceil_divide(size.table_rows, 32), context.stream));
  MEMENGINE_CUDA_CHECK(
      scan(temporary, bytes, Misses{plan}, NumberMisses{numbers}, size.listed, context.stream));
  place_kernel<<<list_blocks, staged_threads, 0, context.stream>>>(plan, numbers);
  MEMENGINE_LAUNCH_CHECK("plan_exchange: place");
  occupy_kernel<<<1, 1, 0, context.stream>>>(plan.cache);
  MEMENGINE_LAUNCH_CHECK("plan_exchange: occupy");
}

std::int64_t plan_exchange_scratch_bytes(const StagedSize& size) {
  return scratch_part<std::int32_t>(sizeof(Counts) / 4) + scratch_part<std::uint8_t>(size.places) +
         scratch_part<std::int32_t>(size.listed) +
         scratch_part<std::byte>(static_cast<std::int64_t>(scan_bytes(size)));
}

}  // namespace memengine::cuda
