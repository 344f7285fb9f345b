// dsub_keys on Hopper as a dense product: dsub_keys [n_keys, half_dim] = S^T Q for each head and
// half, where S [tokens, n_keys] holds the gradients of the half scores. Three of a hundred of its
// elements are not zero at 1,024 sub-keys, but the tensor cores take the product faster than the
// same sums can be sorted by sub-key and gathered, and S itself is never in memory: a block builds
// the tiles that it multiplies, 64 tokens by 128 sub-keys, from the tokens' picks, in shared
// memory.
//
// A block has 128 sub-keys of one head and half, 64 a warpgroup, and a stretch of tokens. Its
// threads zero a tile of S and scatter picks into it (a pick's place is its own: those of one
// sub-key were merged before, so no two threads write the same element) while the product of the
// tile before runs. Stretches leave partial sums, which a second kernel adds up in their order.
//
// S is rounded to BF16, which dweights and weights, whose product it is, already were.
#include "kernels/attention/hopper/copy_engine.cuh"
#include "kernels/attention/hopper/hopper.h"
#include "kernels/device_math.cuh"
#include "kernels/product_key/hopper/hopper.h"

namespace memengine::cuda::product_key::hopper {
namespace {

using cuda::hopper::Barrier;

constexpr int threads = 256;
constexpr int block_keys = 128;
constexpr int tile_tokens = 64;
constexpr int panel_bytes = tile_tokens * cuda::hopper::row_bytes;  // 64 tokens by 64 columns
constexpr int tiles_of_picks = 3;
constexpr int stages = 4;
constexpr std::int64_t wanted_blocks = 256;  // two a multiprocessor

template <int panels>
struct alignas(1024) Shared {
  unsigned char picks[tiles_of_picks][block_keys / 64][panel_bytes];
  unsigned char query[stages][panels][panel_bytes];
  Barrier there[stages];
};

struct Problem {
  int tokens, n_keys, half_dim, tokens_of_block, parts;
};

// Writes one token's share of a tile of S: this thread's eight picks. Four neighbouring lanes have
// a token.
__device__ __forceinline__ void scatter(unsigned char* tile, const uint4 (&picks)[2],
                                        int first_key) {
  const int token = static_cast<int>(threadIdx.x) / 4, member = static_cast<int>(threadIdx.x) % 4;
  unsigned char* row = tile + token * cuda::hopper::row_bytes;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    *reinterpret_cast<uint4*>(row + i / 2 * panel_bytes + (i % 2 * 4 + member) * 16) =
        make_uint4(0, 0, 0, 0);
  }
  __syncwarp();
  const std::uint32_t words[8] = {picks[0].x, picks[0].y, picks[0].z, picks[0].w,
                                  picks[1].x, picks[1].y, picks[1].z, picks[1].w};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const std::uint32_t key = words[i] / 65536 - static_cast<std::uint32_t>(first_key);
    if (key >= block_keys) continue;
    unsigned char* place = row + key / 64 * panel_bytes +
                           ((key % 64 / 8) ^ static_cast<std::uint32_t>(token % 8)) * 16 +
                           key % 8 * 2;
    *reinterpret_cast<std::uint16_t*>(place) = static_cast<std::uint16_t>(words[i]);
  }
}

template <int panels>
__global__ void __launch_bounds__(threads, panels > 2 ? 1 : 2)
    sub_key_gradient_kernel(const __grid_constant__ CUtensorMap query_map, float* out,
                            const std::uint32_t* picks, const __grid_constant__ Problem p,
                            bool accumulate) {
  // Dynamic shared memory alone starts at a multiple of 1024.
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<Shared<panels>*>(shared_memory);
  const int first_key = static_cast<int>(blockIdx.x) * block_keys;
  const int part = static_cast<int>(blockIdx.y);
  const int first_token = static_cast<int>(blockIdx.z) * p.tokens_of_block;
  const int tiles =
      (min(p.tokens_of_block, p.tokens - first_token) + tile_tokens - 1) / tile_tokens;
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (threadIdx.x == 0) {
    for (int i = 0; i < stages; ++i) shared.there[i].create(1);
    cuda::hopper::fence_barriers();
  }
  __syncthreads();

  const auto fetch_queries = [&](int tile) {
    Barrier& there = shared.there[tile % stages];
    there.arrive_and_expect(panels * panel_bytes);
    for (int i = 0; i < panels; ++i) {
      load_box(shared.query[tile % stages][i], query_map, i * 64, first_token + tile * tile_tokens,
               part, there);
    }
  };
  uint4 mine[2];
  const auto fetch_picks = [&](int tile) {
    const int token = first_token + tile * tile_tokens + static_cast<int>(threadIdx.x) / 4;
    if (tile < tiles && token < p.tokens) {
      const auto* row = reinterpret_cast<const uint4*>(
          picks + (std::int64_t{part} * p.tokens + token) * packed_picks + threadIdx.x % 4 * 8);
      mine[0] = row[0];
      mine[1] = row[1];
    } else {
      mine[0] = mine[1] = make_uint4(~0U, ~0U, ~0U, ~0U);
    }
  };

  float sums[panels][32];
  if (threadIdx.x == 0) {
    fetch_queries(0);
    if (tiles > 1) fetch_queries(1);
  }
  fetch_picks(0);
  for (int tile = 0; tile < tiles; ++tile) {
    unsigned char* picked = shared.picks[tile % tiles_of_picks][0];
    cuda::hopper::wgmma_wait<1>();  // this group is done with the tile before the last
    scatter(picked, mine, first_key);
    cuda::hopper::publish_shared();
    fetch_picks(tile + 1);
    __syncthreads();
    // All groups are done with the tile before the last: its stage is free.
    if (threadIdx.x == 0 && tile + 2 < tiles) fetch_queries(tile + 2);
    shared.there[tile % stages].wait(tile / stages % 2);
    constexpr int step = cuda::hopper::step_bytes_k_by_columns / 16;
    const std::uint64_t a =
        cuda::hopper::operand(cuda::hopper::shared_address(picked + group * panel_bytes));
    cuda::hopper::wgmma_begin();
#pragma unroll
    for (int i = 0; i < panels; ++i) {
      const std::uint64_t b =
          cuda::hopper::operand(cuda::hopper::shared_address(shared.query[tile % stages][i]));
#pragma unroll
      for (int k = 0; k < tile_tokens / 16; ++k) {
        cuda::hopper::wgmma_64xn(sums[i], a + k * step, b + k * step, tile > 0 || k > 0);
      }
    }
    cuda::hopper::wgmma_commit();
  }
  cuda::hopper::wgmma_wait<0>();
#pragma unroll
  for (int i = 0; i < panels; ++i) cuda::hopper::touch(sums[i]);

  const int warp = static_cast<int>(threadIdx.x) / warp_size % 4;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  float* rows = out + (std::int64_t{blockIdx.z} * p.parts + part) * p.n_keys * p.half_dim;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int key = first_key + group * 64 + warp * 16 + lane / 4 + half * 8;
    if (key >= p.n_keys) continue;
    float* row = rows + std::int64_t{key} * p.half_dim;
#pragma unroll
    for (int i = 0; i < panels; ++i) {
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int column = i * 64 + j * 8 + lane % 4 * 2;
        if (column >= p.half_dim) continue;
        auto* place = reinterpret_cast<float2*>(row + column);
        float2 sum = make_float2(sums[i][4 * j + 2 * half], sums[i][4 * j + 2 * half + 1]);
        if (accumulate) {
          const float2 before = *place;
          sum.x += before.x;
          sum.y += before.y;
        }
        *place = sum;
      }
    }
  }
}

__global__ void __launch_bounds__(256)
    add_stretches_kernel(float* total, const float* partials, int stretches, std::int64_t count) {
  const std::int64_t i = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 4;
  if (i >= count) return;
  float sum[4];
  load(total + i, sum);
  for (int stretch = 0; stretch < stretches; ++stretch) {
    float part[4];
    load(partials + stretch * count + i, part);
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[j] += part[j];
  }
  store(total + i, sum);
}

// How many tokens a block has; the stretches of tokens are as many as it takes.
std::int64_t tokens_of_block(const ProductKeyShape& shape) {
  const std::int64_t blocks = ceil_divide(shape.n_keys, block_keys) * 2 * shape.heads;
  const std::int64_t wanted = (shape.k_dim > 256 ? wanted_blocks / 2 : wanted_blocks) / blocks;
  const std::int64_t tiles = ceil_divide(shape.tokens, tile_tokens);
  return std::max<std::int64_t>(4, ceil_divide(tiles, std::max<std::int64_t>(wanted, 1))) *
         tile_tokens;
}

std::int64_t stretches_of(const ProductKeyShape& shape) {
  return ceil_divide(shape.tokens, tokens_of_block(shape));
}

std::int64_t gradient_count(const ProductKeyShape& shape) {
  return shape.heads * shape.n_keys * shape.k_dim;
}

}  // namespace

bool can_sum_densely(const ProductKeyShape& shape) {
  return can_run(shape) && shape.n_keys <= 4096 && 2 * shape.heads <= 65535;
}

std::int64_t partial_sums_bytes(const ProductKeyShape& shape) {
  const std::int64_t stretches = stretches_of(shape);
  return stretches == 1 ? 0 : scratch_part<float>(stretches * gradient_count(shape));
}

void sub_key_gradients(const Context& context, const ProductKeyShape& shape, float* dsub_keys,
                       float* partials, const std::uint32_t* picks, Tensor query) {
  const std::int64_t stretches = stretches_of(shape);
  const auto half_dim = static_cast<int>(shape.k_dim / 2);
  const auto parts = static_cast<int>(2 * shape.heads);
  const Problem problem{static_cast<int>(shape.tokens), static_cast<int>(shape.n_keys), half_dim,
                        static_cast<int>(tokens_of_block(shape)), parts};
  const CUtensorMap query_map =
      cuda::hopper::tensor_map(query.as<bfloat16>(), parts, problem.tokens, half_dim, tile_tokens,
                               half_dim, shape.heads * shape.k_dim);
  const bool direct = stretches == 1;
  const auto launch = [&]<int panels>() {
    constexpr int bytes = sizeof(Shared<panels>);
    static_assert(bytes <= shared_bytes);
    const auto kernel = sub_key_gradient_kernel<panels>;
    MEMENGINE_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    const dim3 grid(grid_size(ceil_divide(shape.n_keys, block_keys)), static_cast<unsigned>(parts),
                    static_cast<unsigned>(stretches));
    kernel<<<grid, threads, bytes, context.stream>>>(query_map, direct ? dsub_keys : partials,
                                                     picks, problem, direct);
    MEMENGINE_LAUNCH_CHECK("product_key_backward");
  };
  if (half_dim <= 64)
    launch.template operator()<1>();
  else if (half_dim <= 128)
    launch.template operator()<2>();
  else
    launch.template operator()<4>();
  if (direct) return;
  const std::int64_t count = gradient_count(shape);
  add_stretches_kernel<<<grid_size(ceil_divide(count, 4 * 256)), 256, 0, context.stream>>>(
      dsub_keys, partials, static_cast<int>(stretches), count);
  MEMENGINE_LAUNCH_CHECK("product_key_backward");
}

}  // namespace memengine::cuda::product_key::hopper
