// CPU reference of the product-key lookup: four steps per token and head.
//
//   1. scores of each query half against its n sub-keys: one matrix product for a tile of tokens
//   2. the knn best of each half, best first
//   3. pairs of them with (a + 1)(b + 1) <= knn (product_key.h): about knn ln(knn) of the knn^2
//   4. the knn best pairs, and the softmax of their scores
//
// A tile's scores stay in one core's cache and are never stored. Floats with up to 32 neighbours
// take steps 2 to 4 for several tokens side by side (lane_lookup.h); everything else goes one token
// at a time (select.h).
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/linear/cpu_gemm.h"
#include "kernels/product_key/lane_lookup.h"
#include "kernels/product_key/problem.h"

namespace memengine {
namespace {

using product_key::Candidate;
using product_key::PairCandidate;

constexpr std::int64_t tile_tokens = 32;

template <typename T>
void write_softmax(std::int32_t* indices, T* weights, const PairCandidate<T>* pairs,
                   std::int64_t knn) {
  T sum = 0;
  for (std::int64_t k = 0; k < knn; ++k) {
    indices[k] = pairs[k].row;
    weights[k] = std::exp(pairs[k].sum - pairs[0].sum);
    sum += weights[k];
  }
  for (std::int64_t k = 0; k < knn; ++k) weights[k] /= sum;
}

// One thread's working memory.
template <typename T>
struct Workspace {
  T* scores;                // of a tile of tokens, both halves: [2, tile_tokens, n_keys], or
                            // [2, n_keys, tile_tokens] for tokens side by side
  Candidate<T>* best;       // [2, 2 knn]
  PairCandidate<T>* pairs;  // [pair_count]
  lanes::Space* space;

  Workspace(std::byte* base, const ProductKeyShape& shape)
      : scores(reinterpret_cast<T*>(base)),
        best(reinterpret_cast<Candidate<T>*>(base + scores_bytes(shape))),
        pairs(reinterpret_cast<PairCandidate<T>*>(base + scores_bytes(shape) + best_bytes(shape))),
        space(reinterpret_cast<lanes::Space*>(base + scores_bytes(shape))) {}

  static std::int64_t scores_bytes(const ProductKeyShape& shape) {
    return scratch_part<T>(2 * tile_tokens * shape.n_keys);
  }
  static std::int64_t best_bytes(const ProductKeyShape& shape) {
    return scratch_part<Candidate<T>>(4 * shape.knn);
  }
  static std::int64_t bytes(const ProductKeyShape& shape) {
    const std::int64_t one_by_one =
        best_bytes(shape) + scratch_part<PairCandidate<T>>(product_key::pair_count(shape.knn));
    return scores_bytes(shape) + std::max(one_by_one, scratch_part<lanes::Space>(1));
  }
};

// What a tile of one head works on.
template <typename T>
struct TokenTile {
  std::int32_t* indices;  // the first token's
  T* weights;
  const T* query;
  const T* sub_keys;  // [2, n_keys, half_dim]
  std::int64_t count;
};

template <typename T>
void look_up_one_by_one(const TokenTile<T>& tile, const Workspace<T>& work,
                        const ProductKeyShape& shape) {
  const std::int64_t half_dim = shape.k_dim / 2;
  for (std::int64_t half = 0; half < 2; ++half) {
    gemm<T>(Transpose::no, Transpose::yes, tile.count, shape.n_keys, half_dim, 1,
            tile.query + half * half_dim, shape.heads * shape.k_dim,
            tile.sub_keys + half * shape.n_keys * half_dim, half_dim, 0,
            work.scores + half * tile.count * shape.n_keys, shape.n_keys);
  }
  for (std::int64_t token = 0; token < tile.count; ++token) {
    Candidate<T>* first = work.best;
    Candidate<T>* second = work.best + 2 * shape.knn;
    product_key::select_best(first, work.scores + token * shape.n_keys, shape.n_keys, shape.knn);
    product_key::select_best(second, work.scores + (tile.count + token) * shape.n_keys,
                             shape.n_keys, shape.knn);
    product_key::combine_halves(work.pairs, first, second, shape.knn, shape.n_keys);
    const std::int64_t out = token * shape.heads * shape.knn;
    write_softmax(tile.indices + out, tile.weights + out, work.pairs, shape.knn);
  }
}

void look_up_side_by_side(const TokenTile<float>& tile, const Workspace<float>& work,
                          const ProductKeyShape& shape) {
  const std::int64_t half_dim = shape.k_dim / 2;
  float* const half_scores[2] = {work.scores, work.scores + shape.n_keys * tile_tokens};
  for (std::int64_t half = 0; half < 2; ++half) {
    // Lanes without a token look at zeros.
    if (tile.count < tile_tokens) std::fill_n(half_scores[half], shape.n_keys * tile_tokens, 0.0F);
    gemm<float>(Transpose::no, Transpose::yes, shape.n_keys, tile.count, half_dim, 1,
                tile.sub_keys + half * shape.n_keys * half_dim, half_dim,
                tile.query + half * half_dim, shape.heads * shape.k_dim, 0, half_scores[half],
                tile_tokens);
  }
  const std::int64_t out = shape.heads * shape.knn;  // from token to token
  for (std::int64_t first = 0; first < tile.count; first += lanes::count) {
    const auto tokens = static_cast<int>(std::min<std::int64_t>(lanes::count, tile.count - first));
    lanes::look_up(tile.indices + first * out, tile.weights + first * out, out, tokens, *work.space,
                   half_scores[0] + first, half_scores[1] + first, tile_tokens, shape.n_keys,
                   shape.knn);
  }
}

template <typename T>
void forward(const Context& context, const ProductKeyShape& shape, std::int32_t* indices,
             T* weights, const T* query, const T* sub_keys) {
  const std::int64_t tokens = shape.tokens, heads = shape.heads;
  const std::int64_t tiles = (tokens + tile_tokens - 1) / tile_tokens;
  const std::int64_t workspace_bytes = Workspace<T>::bytes(shape);
  Scratch scratch(context);
  std::byte* workspaces = scratch.take<std::byte>(omp_get_max_threads() * workspace_bytes);

#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const Workspace<T> work(workspaces + omp_get_thread_num() * workspace_bytes, shape);
      const std::int64_t first = tile * tile_tokens;
      const TokenTile<T> here{indices + (first * heads + head) * shape.knn,
                              weights + (first * heads + head) * shape.knn,
                              query + (first * heads + head) * shape.k_dim,
                              sub_keys + head * shape.n_keys * shape.k_dim,
                              std::min(tile_tokens, tokens - first)};
      if constexpr (std::is_same_v<T, float>) {
        if (shape.knn <= lanes::list_size) {
          look_up_side_by_side(here, work, shape);
          continue;
        }
      }
      look_up_one_by_one(here, work, shape);
    }
  }
}

}  // namespace

namespace product_key {

std::int64_t forward_scratch_bytes(const ProductKeyShape& shape) {
  std::int64_t bytes = 0;
  dispatch_floating(shape.dtype, [&]<typename T>() {
    bytes = scratch_part<std::byte>(omp_get_max_threads() * Workspace<T>::bytes(shape));
  });
  return bytes;
}

}  // namespace product_key

void product_key_forward(const Context& context, Tensor indices, Tensor weights, Tensor query,
                         Tensor sub_keys) {
  MEMENGINE_ON_CUDA(context, cuda::product_key_forward(context, indices, weights, query, sub_keys));
  const ProductKeyShape shape = product_key::checked_shape(indices, query, sub_keys);
  dispatch_floating(query.dtype(), [&]<typename T>() {
    forward(context, shape, indices.as<std::int32_t>(), weights.as<T>(), query.as<T>(),
            sub_keys.as<T>());
  });
}

std::int64_t product_key_scratch_bytes(Device device, const ProductKeyShape& shape) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::product_key_scratch_bytes(shape);
  }
  return std::max(product_key::forward_scratch_bytes(shape),
                  product_key::backward_scratch_bytes(shape));
}

}  // namespace memengine
