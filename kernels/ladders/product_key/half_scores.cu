// The scores on CUDA: a block makes 64 tokens x 64 sub-keys of one head and half, from tiles of
// both in shared memory, 4 x 4 per thread.
#include "kernels/device_math.cuh"
#include "kernels/ladders/product_key/half_scores.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int score_tile = 64;
constexpr int tile_depth = 16;  // elements of a query half at a time
constexpr int scores_per_thread = 4;
constexpr int tile_side =
    score_tile / scores_per_thread;  // the block is tile_side x tile_side threads

// rows [first, first + score_tile) of a matrix, elements [from, from + tile_depth), as columns of
// `to`.
__device__ __forceinline__ void load_tile(float (&to)[tile_depth][score_tile + 1],
                                          const bfloat16* matrix, std::int64_t stride,
                                          std::int64_t first, std::int64_t rows, int from,
                                          int elements) {
  for (int i = static_cast<int>(threadIdx.y * tile_side + threadIdx.x); i < score_tile * tile_depth;
       i += tile_side * tile_side) {
    const int row = i / tile_depth, element = i % tile_depth;
    const bool inside = first + row < rows && from + element < elements;
    to[element][row] = inside ? to_float(matrix[(first + row) * stride + from + element]) : 0.0F;
  }
}

__global__ void __launch_bounds__(tile_side* tile_side)
    half_scores_kernel(float* scores, const bfloat16* query, const bfloat16* sub_keys,
                       ProductKeyShape shape) {
  __shared__ float queries[tile_depth][score_tile + 1];
  __shared__ float keys[tile_depth][score_tile + 1];
  const std::int64_t part = blockIdx.z;  // head * 2 + half
  const std::int64_t first_token = std::int64_t{blockIdx.y} * score_tile;
  const std::int64_t first_key = std::int64_t{blockIdx.x} * score_tile;
  const int half_dim = static_cast<int>(shape.k_dim / 2);
  float sum[scores_per_thread][scores_per_thread] = {};
  for (int from = 0; from < half_dim; from += tile_depth) {
    load_tile(queries, query + part * half_dim, shape.heads * shape.k_dim, first_token,
              shape.tokens, from, half_dim);
    load_tile(keys, sub_keys + part * shape.n_keys * half_dim, half_dim, first_key, shape.n_keys,
              from, half_dim);
    __syncthreads();
    for (int element = 0; element < tile_depth; ++element) {
#pragma unroll
      for (int i = 0; i < scores_per_thread; ++i) {
#pragma unroll
        for (int j = 0; j < scores_per_thread; ++j) {
          sum[i][j] += queries[element][threadIdx.y + i * tile_side] *
                       keys[element][threadIdx.x + j * tile_side];
        }
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < scores_per_thread; ++i) {
    for (int j = 0; j < scores_per_thread; ++j) {
      const std::int64_t token = first_token + threadIdx.y + i * tile_side;
      const std::int64_t key = first_key + threadIdx.x + j * tile_side;
      if (token >= shape.tokens || key >= shape.n_keys) continue;
      scores[(token * shape.heads * 2 + part) * shape.n_keys + key] = sum[i][j];
    }
  }
}

}  // namespace

void half_scores(const Context& context, float* scores, Tensor query, Tensor sub_keys,
                 const ProductKeyShape& shape) {
  const dim3 grid(grid_size(ceil_divide(shape.n_keys, score_tile)),
                  grid_size(ceil_divide(shape.tokens, score_tile)), grid_size(shape.heads * 2));
  half_scores_kernel<<<grid, dim3(tile_side, tile_side), 0, context.stream>>>(
      scores, query.as<bfloat16>(), sub_keys.as<bfloat16>(), shape);
  MEMENGINE_LAUNCH_CHECK("ladders: half_scores");
}

}  // namespace memengine::ladders::cuda
