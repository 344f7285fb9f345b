// The gradients of the product-key lookup on the GPU.
//
// One warp a (token, head) turns dweights into the gradient of the picks' scores (softmax
// backwards) and, half by half, adds up the picks that share a sub-key: 32 picks are pairs of some
// ten sub-keys a half, so merging first saves two thirds of the work that follows. The merged
// gradients times their sub-keys, gathered from the L2 cache, are dquery.
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

// dquery [N H, k_dim]; weights, dweights, indices [N H, knn]; sub_keys [2 H n_keys, half_dim].
// `team` lanes hold a row of sub_keys; a warp's teams take turns at the rows.
template <typename T, int width>
__global__ void __launch_bounds__(threads)
    pick_kernel(T* dquery, Entries entries, const T* dweights, const T* weights,
                const std::int32_t* indices, const T* sub_keys, std::int64_t groups, int heads,
                int knn, int n_keys, int half_dim, int team) {
  constexpr int in_flight = 4;
  __shared__ float dscores[warps][warp_size];
  __shared__ std::int32_t merged_keys[warps][most_knn];
  __shared__ float merged_gradients[warps][most_knn];
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const std::int64_t group = std::int64_t{blockIdx.x} * warps + warp;
  if (group >= groups) return;
  const int head = static_cast<int>(group % heads);
  const std::int64_t first_pick = group * knn;

  float mean = 0;
  for (int j = lane; j < knn; j += warp_size) {
    mean += element(weights, first_pick + j) * element(dweights, first_pick + j);
  }
  mean = warp_sum(mean);

  for (int half = 0; half < 2; ++half) {
    const std::int64_t first_entry = (group * 2 + half) * knn;
    const int first_key = (head * 2 + half) * n_keys;
    int merged = 0;
    for (int base = 0; base < knn; base += warp_size) {
      const int j = base + lane;
      std::int32_t key = -1;
      float dscore = 0;
      if (j < knn) {
        const std::int32_t row = indices[first_pick + j];
        key = half == 0 ? row / n_keys : row % n_keys;
        dscore = element(weights, first_pick + j) * (element(dweights, first_pick + j) - mean);
      }
      __syncwarp();
      dscores[warp][lane] = dscore;
      __syncwarp();
      unsigned same = __match_any_sync(0xffffffffU, key);
      const bool leads = j < knn && __ffs(static_cast<int>(same)) - 1 == lane;
      float gradient = 0;
      if (leads) {
        for (; same != 0; same &= same - 1) {
          gradient += dscores[warp][__ffs(static_cast<int>(same)) - 1];
        }
      }
      const unsigned leaders = __ballot_sync(0xffffffffU, leads);
      if (leads) {
        const int place = merged + __popc(leaders & ((1U << lane) - 1));
        merged_keys[warp][place] = key;
        merged_gradients[warp][place] = gradient;
      }
      if (entries.packed != nullptr) {
        const std::int64_t token = group / heads, tokens = groups / heads;
        entries.packed[((head * 2 + half) * tokens + token) * hopper::packed_picks + lane] =
            leads ? static_cast<std::uint32_t>(key) << 16 |
                        __bfloat16_as_ushort(__float2bfloat16_rn(gradient))
                  : ~0U;
      } else if (j < knn) {
        entries.keys[first_entry + j] =
            leads ? static_cast<std::uint32_t>(first_key + key) : entries.dropped;
        entries.positions[first_entry + j] = static_cast<std::int32_t>(first_entry + j);
        entries.gradients[first_entry + j] = gradient;
      }
      merged += __popc(leaders);
    }
    __syncwarp();

    const int teams = warp_size / team;
    const int my_team = lane / team;
    const T* keys = sub_keys + static_cast<std::int64_t>(first_key) * half_dim;
    for (int slab = 0; slab < half_dim; slab += team * width) {
      const int column = slab + lane % team * width;
      float sum[width] = {};
      for (int next = my_team; column < half_dim && next < merged; next += in_flight * teams) {
        Pack<T, width> row[in_flight];
        float gradient[in_flight];
#pragma unroll
        for (int i = 0; i < in_flight; ++i) {
          const int place = next + i * teams;
          gradient[i] = 0;
          row[i] = {};
          if (place < merged) {
            gradient[i] = merged_gradients[warp][place];
            row[i] = load<width>(
                keys + static_cast<std::int64_t>(merged_keys[warp][place]) * half_dim + column);
          }
        }
#pragma unroll
        for (int i = 0; i < in_flight; ++i) {
#pragma unroll
          for (int c = 0; c < width; ++c) sum[c] += gradient[i] * row[i][c];
        }
      }
      for (int offset = team; offset < warp_size; offset *= 2) {
#pragma unroll
        for (int c = 0; c < width; ++c) sum[c] += __shfl_xor_sync(0xffffffffU, sum[c], offset);
      }
      if (my_team == 0 && column < half_dim) {
        store(dquery + (group * 2 + half) * half_dim + column, sum);
      }
    }
    __syncwarp();
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
  const std::int64_t groups = shape.tokens * shape.heads;
  const std::int64_t half_dim = shape.k_dim / 2;
  const auto launch = [&]<int width>() {
    int team = warp_size;
    while (team > 1 && team / 2 * width >= half_dim) team /= 2;
    pick_kernel<T, width><<<grid_size(ceil_divide(groups, warps)), threads, 0, context.stream>>>(
        dquery.as<T>(), entries, dweights.as<T>(), weights.as<T>(), indices.as<std::int32_t>(),
        sub_keys.as<T>(), groups, static_cast<int>(shape.heads), static_cast<int>(shape.knn),
        static_cast<int>(shape.n_keys), static_cast<int>(half_dim), team);
  };
  if (in_vectors<T>(half_dim, {dquery.data(), sub_keys.data()}))
    launch.template operator()<vector_width<T>>();
  else
    launch.template operator()<1>();
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
                                  hopper::partial_sums_bytes(shape));
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
      auto* partials = static_cast<float*>(scratch.take_bytes(hopper::partial_sums_bytes(shape)));
      merge_picks<bfloat16>(context, shape, dquery, {nullptr, nullptr, nullptr, 0, packed},
                            dweights, weights, indices, sub_keys);
      hopper::sub_key_gradients(context, shape, dsub_keys.as<float>(), partials, packed, query);
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
