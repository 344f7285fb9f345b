// The gradients of the product-key lookup on the GPU.
//
// One warp a (token, head) turns dweights into the gradient of the picks' scores (softmax
// backwards) and, in each half, adds up the picks that share a sub-key: 32 picks are pairs of some
// ten sub-keys a half, so merging first saves two thirds of the work that follows. The merged
// gradients times their sub-keys, gathered from the L2 cache, are dquery; both halves are gathered
// at once where half a warp holds a sub-key.
//
// dsub_keys is the same sum seen from the other side: entries (sub-key, merged gradient, query
// half) are sorted by sub-key, and each sub-key sums its own (segment_sum.cuh). Picks that were
// merged into another sort after the last sub-key and are dropped. In BF16 on Hopper the sums are
// a dense product instead (hopper/backward.cu), which takes the merged picks as they are.
#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "kernels/bag/segment_sum.cuh"
#include "kernels/product_key/problem.cuh"

namespace memengine::cuda {
namespace product_key {
namespace {

constexpr int threads = 128;
constexpr int warps = threads / warp_size;

// One entry a pick and half: entry ((n H + h) 2 + half) knn + j.
struct Entries {
  std::uint32_t* keys;      // sub-key (h 2 + half) n_keys + i, or `dropped`
  std::int32_t* positions;  // the entry's own number
  float* gradients;         // of the sub-key's score
  std::uint32_t dropped;
  std::uint32_t* packed;  // or this alone, as hopper.h has it
};

template <typename T>
__device__ __forceinline__ float element(const T* x, std::int64_t i) {
  float value[1];
  load(x + i, value);
  return value[0];
}

// A sub-key that some of a lookup's picks share, and the sum of their scores' gradients.
struct MergedPick {
  std::int32_t offset;  // of the sub-key's row, in elements from its half's first
  float gradient;
};

// Adds up x over the lanes of the same key, each half for itself; the first lane of each key gets
// the sum. Every lane adds what the next lane of its key has, then skips that one: after i rounds
// it has the sum over 2^i lanes.
__device__ __forceinline__ void add_up_same(float (&x)[2], const unsigned (&same)[2], int lane) {
  int next[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const unsigned above = same[half] & (0xfffffffeU << lane);
    next[half] = above == 0 ? -1 : __ffs(static_cast<int>(above)) - 1;
  }
  while (__any_sync(0xffffffffU, max(next[0], next[1]) >= 0)) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int from = next[half] < 0 ? lane : next[half];
      const float other = __shfl_sync(0xffffffffU, x[half], from);
      const int after = __shfl_sync(0xffffffffU, next[half], from);
      if (next[half] >= 0) x[half] += other;
      next[half] = after;
    }
  }
}

// dquery [N H, k_dim]; weights, dweights, indices [N H, knn]; sub_keys [2 H n_keys, half_dim].
// `team` lanes hold a row of sub_keys; the teams of a warp, or of half a warp for each half where a
// row takes no more, take turns at the rows. Picks come in `rounds` of 32.
template <typename T, int width, int rounds>
__global__ void __launch_bounds__(threads, 8)
    pick_kernel(T* dquery, Entries entries, const T* dweights, const T* weights,
                const std::int32_t* indices, const T* sub_keys, int tokens, int knn, int n_keys,
                int half_dim, int team) {
  constexpr int in_flight = 4;
  __shared__ MergedPick merged[warps][2][rounds * warp_size + in_flight * warp_size];
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int token = static_cast<int>(blockIdx.x) * warps + warp;
  if (token >= tokens) return;
  const int head = static_cast<int>(blockIdx.y), heads = static_cast<int>(gridDim.y);
  const std::int64_t group = std::int64_t{token} * heads + head;
  const std::int64_t first_pick = group * knn;

  float weight[rounds], dweight[rounds];
  std::int32_t row[rounds];
  float mean = 0;
#pragma unroll
  for (int round = 0; round < rounds; ++round) {
    const int j = round * warp_size + lane;
    const bool exists = j < knn;
    weight[round] = exists ? element(weights, first_pick + j) : 0.0F;
    dweight[round] = exists ? element(dweights, first_pick + j) : 0.0F;
    row[round] = exists ? indices[first_pick + j] : 0;
    mean += weight[round] * dweight[round];
  }
  mean = warp_sum(mean);

  int count[2] = {0, 0};
#pragma unroll
  for (int round = 0; round < rounds; ++round) {
    const int j = round * warp_size + lane;
    const bool exists = j < knn;
    const int first_key =
        static_cast<int>(static_cast<unsigned>(row[round]) / static_cast<unsigned>(n_keys));
    const int key[2] = {exists ? first_key : -1, exists ? row[round] - first_key * n_keys : -1};
    const unsigned same[2] = {__match_any_sync(0xffffffffU, key[0]),
                              __match_any_sync(0xffffffffU, key[1])};
    const float dscore = weight[round] * (dweight[round] - mean);
    float gradient[2] = {dscore, dscore};
    add_up_same(gradient, same, lane);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const bool leads = exists && __ffs(static_cast<int>(same[half])) - 1 == lane;
      const unsigned leaders = __ballot_sync(0xffffffffU, leads);
      if (leads) {
        const int place = count[half] + __popc(leaders & ((1U << lane) - 1));
        merged[warp][half][place] = {key[half] * half_dim, gradient[half]};
      }
      count[half] += __popc(leaders);
      if (entries.packed != nullptr) {
        const std::int64_t place = std::int64_t{head * 2 + half} * tokens + token;
        entries.packed[place * hopper::packed_picks + lane] =
            leads ? static_cast<std::uint32_t>(key[half]) << 16 |
                        __bfloat16_as_ushort(__float2bfloat16_rn(gradient[half]))
                  : ~0U;
      } else if (exists) {
        const std::int64_t entry = (group * 2 + half) * knn + j;
        entries.keys[entry] =
            leads ? static_cast<std::uint32_t>((head * 2 + half) * n_keys + key[half])
                  : entries.dropped;
        entries.positions[entry] = static_cast<std::int32_t>(entry);
        entries.gradients[entry] = leads ? gradient[half] : 0.0F;
      }
    }
  }
  // Teams take turns in rounds of their own; the last of them is filled up with a row that is
  // there, times zero.
  const bool both = team <= warp_size / 2;
  const int lanes = both ? warp_size / 2 : warp_size;
  const int teams = lanes / team, my_team = lane % lanes / team;
  const int turn = in_flight * teams;
  __syncwarp();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int offset = merged[warp][half][0].offset;
    for (int i = lane; i < turn; i += warp_size) merged[warp][half][count[half] + i] = {offset, 0};
  }
  __syncwarp();

  for (int half = both ? lane / lanes : 0; half < 2; half += both ? 2 : 1) {
    const int picks = half == 0 ? count[0] : count[1];
    const T* keys = sub_keys + static_cast<std::int64_t>(head * 2 + half) * n_keys * half_dim;
    for (int slab = 0; slab < half_dim; slab += team * width) {
      const int column = min(slab + lane % team * width, half_dim - width);
      const bool inside = slab + lane % team * width < half_dim;
      float sum[width] = {};
      for (int first = my_team; first < picks + my_team; first += turn) {
        Pack<T, width> row_of_key[in_flight];
        float gradient[in_flight];
#pragma unroll
        for (int i = 0; i < in_flight; ++i) {
          const MergedPick pick = merged[warp][half][first + i * teams];
          gradient[i] = pick.gradient;
          row_of_key[i] = load<width>(keys + (pick.offset + column));
        }
#pragma unroll
        for (int i = 0; i < in_flight; ++i) {
#pragma unroll
          for (int c = 0; c < width; ++c) sum[c] += gradient[i] * row_of_key[i][c];
        }
      }
      __syncwarp();
      for (int offset = team; offset < lanes; offset *= 2) {
#pragma unroll
        for (int c = 0; c < width; ++c) sum[c] += __shfl_xor_sync(0xffffffffU, sum[c], offset);
      }
      if (my_team == 0 && inside) {
        store(dquery + (group * 2 + half) * half_dim + column, sum);
      }
    }
  }
}

std::int64_t entry_count(const ProductKeyShape& shape) {
  return shape.tokens * shape.heads * 2 * shape.knn;
}

std::int64_t packed_count(const ProductKeyShape& shape) {
  return 2 * shape.heads * shape.tokens * hopper::packed_picks;
}

// One above the largest sub-key: sorts last.
std::uint32_t dropped_key(const ProductKeyShape& shape) {
  return static_cast<std::uint32_t>(2 * shape.heads * shape.n_keys);
}

cudaError_t sort(void* temporary, std::size_t& bytes, cub::DoubleBuffer<std::uint32_t>& keys,
                 cub::DoubleBuffer<std::int32_t>& positions, const ProductKeyShape& shape,
                 cudaStream_t stream) {
  return cub::DeviceRadixSort::SortPairs(temporary, bytes, keys, positions,
                                         static_cast<std::int32_t>(entry_count(shape)), 0,
                                         std::bit_width(dropped_key(shape)), stream);
}

std::size_t sort_bytes(const ProductKeyShape& shape) {
  cub::DoubleBuffer<std::uint32_t> keys;
  cub::DoubleBuffer<std::int32_t> positions;
  std::size_t bytes = 0;
  MEMENGINE_CUDA_CHECK(sort(nullptr, bytes, keys, positions, shape, nullptr));
  return bytes;
}

// dquery, and the entries for dsub_keys.
template <typename T>
void merge_picks(const Context& context, const ProductKeyShape& shape, Tensor dquery,
                 const Entries& entries, Tensor dweights, Tensor weights, Tensor indices,
                 Tensor sub_keys) {
  if (shape.heads > 65535) {
    fail_internal("product_key_backward on CUDA: {} heads are too many", shape.heads);
  }
  const std::int64_t half_dim = shape.k_dim / 2;
  const dim3 grid(grid_size(ceil_divide(shape.tokens, warps)), static_cast<unsigned>(shape.heads));
  const auto launch = [&]<int width, int rounds>() {
    int team = warp_size;
    while (team > 1 && team / 2 * width >= half_dim) team /= 2;
    pick_kernel<T, width, rounds><<<grid, threads, 0, context.stream>>>(
        dquery.as<T>(), entries, dweights.as<T>(), weights.as<T>(), indices.as<std::int32_t>(),
        sub_keys.as<T>(), static_cast<int>(shape.tokens), static_cast<int>(shape.knn),
        static_cast<int>(shape.n_keys), static_cast<int>(half_dim), team);
  };
  const auto with_rounds = [&]<int width>() {
    if (shape.knn <= warp_size)
      launch.template operator()<width, 1>();
    else
      launch.template operator()<width, most_knn / warp_size>();
  };
  if (in_vectors<T>(half_dim, {dquery.data(), sub_keys.data()}))
    with_rounds.template operator()<vector_width<T>>();
  else
    with_rounds.template operator()<1>();
  MEMENGINE_LAUNCH_CHECK("product_key_backward");
}

}  // namespace

std::int64_t backward_scratch_bytes(const ProductKeyShape& shape) {
  const std::int64_t count = entry_count(shape);
  if (count == 0) return 0;
  std::int64_t bytes = 5 * scratch_part<std::uint32_t>(count) +
                       scratch_part<std::byte>(static_cast<std::int64_t>(sort_bytes(shape))) +
                       scratch_part<float>(SegmentPlan(count, shape.k_dim / 2).partials());
  if constexpr (MEMENGINE_HAS_HOPPER) {
    if (hopper::can_sum_densely(shape)) {
      bytes = std::max(bytes, scratch_part<std::uint32_t>(packed_count(shape)) +
                                  product_key::hopper::partial_sums_bytes(shape));
    }
  }
  return bytes;
}

}  // namespace product_key

void product_key_backward(const Context& context, Tensor dquery, Tensor dsub_keys, Tensor dweights,
                          Tensor weights, Tensor indices, Tensor query, Tensor sub_keys) {
  using namespace product_key;
  const ProductKeyShape shape = checked_shape(indices, query, sub_keys);
  const std::int64_t count = entry_count(shape);
  const std::int64_t half_dim = shape.k_dim / 2;
  if (count == 0) return;
  if (count > 0x7fffffff) {
    fail_internal("product_key_backward on CUDA: {} picks in one batch are too many", count / 2);
  }
  Scratch scratch(context);
  if (is_summed_densely(context, shape)) {
    if constexpr (MEMENGINE_HAS_HOPPER) {
      auto* packed = scratch.take<std::uint32_t>(packed_count(shape));
      auto* partials =
          static_cast<float*>(scratch.take_bytes(product_key::hopper::partial_sums_bytes(shape)));
      merge_picks<bfloat16>(context, shape, dquery, {nullptr, nullptr, nullptr, 0, packed},
                            dweights, weights, indices, sub_keys);
      if (dsub_keys.empty()) return;
      product_key::hopper::sub_key_gradients(context, shape, dsub_keys.as<float>(), partials,
                                             packed, query);
    }
    return;
  }
  cub::DoubleBuffer<std::uint32_t> keys(scratch.take<std::uint32_t>(count),
                                        scratch.take<std::uint32_t>(count));
  cub::DoubleBuffer<std::int32_t> positions(scratch.take<std::int32_t>(count),
                                            scratch.take<std::int32_t>(count));
  float* gradients = scratch.take<float>(count);
  std::size_t bytes = sort_bytes(shape);
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));
  float* partials = scratch.take<float>(SegmentPlan(count, half_dim).partials());
  const Entries entries{keys.Current(), positions.Current(), gradients, dropped_key(shape),
                        nullptr};

  dispatch_storage("product_key_backward", shape.dtype, [&]<typename T>() {
    merge_picks<T>(context, shape, dquery, entries, dweights, weights, indices, sub_keys);
    if (dsub_keys.empty()) return;
    MEMENGINE_CUDA_CHECK(sort(temporary, bytes, keys, positions, shape, context.stream));
    const SegmentEntries<float> segments{positions.Current(),
                                         reinterpret_cast<const std::int32_t*>(keys.Current()),
                                         gradients, static_cast<int>(shape.knn)};
    segment_sum<true>("product_key_backward", context, dsub_keys.as<float>(),
                      {.partials = partials, .limit = static_cast<std::int32_t>(entries.dropped)},
                      segments, query.as<T>(), count, half_dim);
  });
}

std::int64_t product_key_scratch_bytes(const ProductKeyShape& shape) {
  return std::max(product_key::forward_scratch_bytes(shape),
                  product_key::backward_scratch_bytes(shape));
}

}  // namespace memengine::cuda
