// CPU reference of the product-key lookup: four steps a token and head.
//
//   1. scores of each query half against its n sub-keys: one matrix product for a tile of tokens
//   2. the knn best of each half, best first, in one pass over the n scores
//   3. pairs of them; because both halves are sorted, pair (a, b) has (a + 1)(b + 1) - 1 pairs that
//      are at least as good, so only pairs with (a + 1)(b + 1) <= knn can win: about knn ln(knn) of
//      the knn^2
//   4. the knn best pairs, and the softmax of their scores
//
// A tile's scores stay in one core's cache and are never stored. The backward pass is sparse: it
// visits the picked pairs only.
#include "kernels/product_key/product_key.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu_rows.h"
#include "kernels/dispatch.h"
#include "kernels/linear/cpu_gemm.h"

namespace memengine {
namespace {

constexpr std::int64_t tile_tokens = 32;

template <typename T>
struct Candidate {
  T score;
  std::int32_t index;
};

// Higher scores first; equal scores: the lower index first.
template <typename T>
bool better(const Candidate<T>& a, const Candidate<T>& b) {
  return a.score != b.score ? a.score > b.score : a.index < b.index;
}

// A score that can be ordered: NaN counts as the best, so that it is picked and shows in the
// weights.
template <typename T>
T comparable(T score) {
  return score == score ? score : std::numeric_limits<T>::infinity();
}

// best[0 .. knn) = the knn best of `count` scores, best first. `best` has room for 2 knn.
//
// The first knn scores set a bar: their minimum. A later score must beat it to be held at all (an
// equal one has a higher index), and whenever 2 knn are held, the better half stays and raises the
// bar. Most blocks of scores lie wholly below the bar and cost one vectorised maximum.
template <typename T>
void select_best(Candidate<T>* best, const T* scores, std::int64_t count, std::int64_t knn) {
  T bar = std::numeric_limits<T>::infinity();
  for (std::int64_t i = 0; i < knn; ++i) {
    best[i] = {comparable(scores[i]), static_cast<std::int32_t>(i)};
    bar = std::min(bar, best[i].score);
  }
  std::int64_t held = knn;
  const auto keep_better_half = [&] {
    std::nth_element(best, best + knn - 1, best + held, better<T>);
    held = knn;
    bar = best[knn - 1].score;
  };
  constexpr std::int64_t block = 32;
  for (std::int64_t first = knn; first < count; first += block) {
    const std::int64_t last = std::min(first + block, count);
    int above = 0;
#pragma omp simd reduction(+ : above)
    for (std::int64_t i = first; i < last; ++i) above += scores[i] <= bar ? 0 : 1;
    if (above == 0) continue;
    for (std::int64_t i = first; i < last; ++i) {
      if (scores[i] <= bar) continue;
      best[held++] = {comparable(scores[i]), static_cast<std::int32_t>(i)};
      if (held == 2 * knn) keep_better_half();
    }
  }
  keep_better_half();
  std::sort(best, best + knn, better<T>);
}

// How many pairs (a, b) have (a + 1)(b + 1) <= knn.
std::int64_t pair_count(std::int64_t knn) {
  std::int64_t count = 0;
  for (std::int64_t a = 0; a < knn; ++a) count += knn / (a + 1);
  return count;
}

// pairs[0 .. knn) = the knn best sums of a first and a second half, best first; index = the row.
template <typename T>
void combine_halves(Candidate<T>* pairs, const Candidate<T>* first, const Candidate<T>* second,
                    std::int64_t knn, std::int64_t n_keys) {
  std::int64_t held = 0;
  for (std::int64_t a = 0; a < knn; ++a) {
    for (std::int64_t b = 0; (a + 1) * (b + 1) <= knn; ++b) {
      pairs[held++] = {comparable(first[a].score + second[b].score),
                       static_cast<std::int32_t>(first[a].index * n_keys + second[b].index)};
    }
  }
  std::nth_element(pairs, pairs + knn - 1, pairs + held, better<T>);
  std::sort(pairs, pairs + knn, better<T>);
}

template <typename T>
void write_softmax(std::int32_t* indices, T* weights, const Candidate<T>* pairs, std::int64_t knn) {
  T sum = 0;
  for (std::int64_t k = 0; k < knn; ++k) {
    indices[k] = pairs[k].index;
    weights[k] = std::exp(pairs[k].score - pairs[0].score);
    sum += weights[k];
  }
  for (std::int64_t k = 0; k < knn; ++k) weights[k] /= sum;
}

ProductKeyShape checked_shape(Tensor indices, Tensor query, Tensor sub_keys) {
  const ProductKeyShape shape{.tokens = query.dim(0),
                              .heads = query.dim(1),
                              .knn = indices.dim(2),
                              .n_keys = sub_keys.dim(2),
                              .k_dim = query.dim(2),
                              .dtype = query.dtype()};
  if (shape.k_dim % 2 != 0 || shape.knn < 1 || shape.knn > shape.n_keys ||
      shape.n_keys * shape.n_keys > std::numeric_limits<std::int32_t>::max()) {
    fail_internal("product_key: query {}, sub-keys {} and indices {} do not fit together",
                  query.shape_text(), sub_keys.shape_text(), indices.shape_text());
  }
  return shape;
}

// One thread's working memory.
template <typename T>
struct Workspace {
  T* scores;            // [2, tile_tokens, n_keys]
  Candidate<T>* best;   // [2, 2 knn]
  Candidate<T>* pairs;  // [pair_count]

  Workspace(std::byte* base, const ProductKeyShape& shape)
      : scores(reinterpret_cast<T*>(base)),
        best(reinterpret_cast<Candidate<T>*>(base + scores_bytes(shape))),
        pairs(best + 4 * shape.knn) {}

  static std::int64_t scores_bytes(const ProductKeyShape& shape) {
    return scratch_part<T>(2 * tile_tokens * shape.n_keys);
  }
  static std::int64_t bytes(const ProductKeyShape& shape) {
    return scores_bytes(shape) + scratch_part<Candidate<T>>(4 * shape.knn + pair_count(shape.knn));
  }
};

template <typename T>
void forward(const Context& context, const ProductKeyShape& shape, std::int32_t* indices,
             T* weights, const T* query, const T* sub_keys) {
  // Named one by one: OpenMP regions of older compilers cannot capture structured bindings.
  const std::int64_t tokens = shape.tokens, heads = shape.heads, knn = shape.knn;
  const std::int64_t n_keys = shape.n_keys, k_dim = shape.k_dim;
  const std::int64_t half_dim = k_dim / 2;
  const std::int64_t tiles = (tokens + tile_tokens - 1) / tile_tokens;
  const std::int64_t workspace_bytes = Workspace<T>::bytes(shape);
  Scratch scratch(context);
  std::byte* workspaces = scratch.take<std::byte>(omp_get_max_threads() * workspace_bytes);

#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const Workspace<T> work(workspaces + omp_get_thread_num() * workspace_bytes, shape);
      const std::int64_t first = tile * tile_tokens;
      const std::int64_t count = std::min(tile_tokens, tokens - first);
      for (std::int64_t half = 0; half < 2; ++half) {
        gemm<T>(Transpose::no, Transpose::yes, count, n_keys, half_dim, 1,
                query + (first * heads + head) * k_dim + half * half_dim, heads * k_dim,
                sub_keys + (head * 2 + half) * n_keys * half_dim, half_dim, 0,
                work.scores + half * count * n_keys, n_keys);
      }
      for (std::int64_t token = 0; token < count; ++token) {
        Candidate<T>* best_first = work.best;
        Candidate<T>* best_second = work.best + 2 * knn;
        select_best(best_first, work.scores + token * n_keys, n_keys, knn);
        select_best(best_second, work.scores + (count + token) * n_keys, n_keys, knn);
        combine_halves(work.pairs, best_first, best_second, knn, n_keys);
        const std::int64_t out = ((first + token) * heads + head) * knn;
        write_softmax(indices + out, weights + out, work.pairs, knn);
      }
    }
  }
}

// dscores = weights * (dweights - <weights, dweights>): the softmax backwards. A pick's score is
// the sum of its two half scores, so its gradient is the gradient of either.
template <typename T>
void softmax_backward(T* dscores, const T* dweights, const T* weights, std::int64_t knn) {
  const T mean = dot(weights, dweights, knn);
  for (std::int64_t k = 0; k < knn; ++k) dscores[k] = weights[k] * (dweights[k] - mean);
}

// A stable counting sort of one head's picks by the sub-key that they use in one half: the picks
// n * knn + k of sub-key i are order[starts[i] .. starts[i + 1]). `starts` has n_keys + 2 elements.
void sort_picks_by_key(std::int32_t* order, std::int32_t* starts, const std::int32_t* indices,
                       const ProductKeyShape& shape, std::int64_t head, std::int64_t half) {
  const auto key_of = [&](std::int64_t token, std::int64_t k) {
    const std::int64_t row = indices[(token * shape.heads + head) * shape.knn + k];
    return half == 0 ? row / shape.n_keys : row % shape.n_keys;
  };
  std::fill_n(starts, shape.n_keys + 2, 0);
  for (std::int64_t token = 0; token < shape.tokens; ++token) {
    for (std::int64_t k = 0; k < shape.knn; ++k) ++starts[key_of(token, k) + 2];
  }
  // Sums make starts[i + 1] the first place of key i; filling moves it on to the first of i + 1.
  for (std::int64_t i = 2; i < shape.n_keys + 2; ++i) starts[i] += starts[i - 1];
  for (std::int64_t token = 0; token < shape.tokens; ++token) {
    for (std::int64_t k = 0; k < shape.knn; ++k) {
      order[starts[key_of(token, k) + 1]++] = static_cast<std::int32_t>(token * shape.knn + k);
    }
  }
}

template <typename T>
void backward(const Context& context, const ProductKeyShape& shape, T* dquery, T* dsub_keys,
              const T* dweights, const T* weights, const std::int32_t* indices, const T* query,
              const T* sub_keys) {
  // Named one by one: OpenMP regions of older compilers cannot capture structured bindings.
  const std::int64_t tokens = shape.tokens, heads = shape.heads, knn = shape.knn;
  const std::int64_t n_keys = shape.n_keys, k_dim = shape.k_dim;
  const std::int64_t half_dim = k_dim / 2;
  const std::int64_t picks = tokens * knn;  // of one head
  Scratch scratch(context);
  T* dscores = scratch.take<T>(heads * picks);                           // [N, H, knn]
  std::int32_t* orders = scratch.take<std::int32_t>(2 * heads * picks);  // [H, 2, picks]
  std::int32_t* starts = scratch.take<std::int32_t>(2 * heads * (n_keys + 2));

  // dquery: each half gathers the sub-keys it picked, dscore * key.
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int64_t group = token * heads + head;
      softmax_backward(dscores + group * knn, dweights + group * knn, weights + group * knn, knn);
      const T* first_keys = sub_keys + head * 2 * n_keys * half_dim;
      const T* second_keys = first_keys + n_keys * half_dim;
      T* dfirst = dquery + group * k_dim;
      T* dsecond = dfirst + half_dim;
      std::fill_n(dfirst, k_dim, T{0});
      for (std::int64_t k = 0; k < knn; ++k) {
        const T dscore = dscores[group * knn + k];
        const std::int64_t row = indices[group * knn + k];
        add_scaled(dfirst, dscore, first_keys + row / n_keys * half_dim, half_dim);
        add_scaled(dsecond, dscore, second_keys + row % n_keys * half_dim, half_dim);
      }
    }
  }

  // dsub_keys: each sub-key gathers the queries that picked it, in token order. A token that picked
  // it in several pairs counts once, with the sum of their dscores.
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t part = 0; part < 2 * heads; ++part) {
    sort_picks_by_key(orders + part * picks, starts + part * (n_keys + 2), indices, shape, part / 2,
                      part % 2);
  }
#pragma omp parallel for collapse(2) schedule(dynamic, 16)
  for (std::int64_t part = 0; part < 2 * heads; ++part) {
    for (std::int64_t key = 0; key < n_keys; ++key) {
      const std::int64_t head = part / 2;
      const std::int32_t* order = orders + part * picks;
      const std::int32_t end = starts[part * (n_keys + 2) + key + 1];
      for (std::int32_t p = starts[part * (n_keys + 2) + key]; p < end;) {
        const std::int64_t token = order[p] / knn;
        T dscore = 0;
        for (; p < end && order[p] / knn == token; ++p) {
          dscore += dscores[(token * heads + head) * knn + order[p] % knn];
        }
        add_scaled(dsub_keys + (part * n_keys + key) * half_dim, dscore,
                   query + (token * heads + head) * k_dim + part % 2 * half_dim, half_dim);
      }
    }
  }
}

}  // namespace

void product_key_forward(const Context& context, Tensor indices, Tensor weights, Tensor query,
                         Tensor sub_keys) {
  MEMENGINE_ON_CUDA(context, cuda::product_key_forward(context, indices, weights, query, sub_keys));
  const ProductKeyShape shape = checked_shape(indices, query, sub_keys);
  dispatch_floating(query.dtype(), [&]<typename T>() {
    forward(context, shape, indices.as<std::int32_t>(), weights.as<T>(), query.as<T>(),
            sub_keys.as<T>());
  });
}

void product_key_backward(const Context& context, Tensor dquery, Tensor dsub_keys, Tensor dweights,
                          Tensor weights, Tensor indices, Tensor query, Tensor sub_keys) {
  MEMENGINE_ON_CUDA(context, cuda::product_key_backward(context, dquery, dsub_keys, dweights,
                                                        weights, indices, query, sub_keys));
  const ProductKeyShape shape = checked_shape(indices, query, sub_keys);
  dispatch_floating(query.dtype(), [&]<typename T>() {
    backward(context, shape, dquery.as<T>(), dsub_keys.as<T>(), dweights.as<T>(), weights.as<T>(),
             indices.as<std::int32_t>(), query.as<T>(), sub_keys.as<T>());
  });
}

std::int64_t product_key_scratch_bytes(Device device, const ProductKeyShape& shape) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::product_key_scratch_bytes(shape);
  }
  std::int64_t bytes = 0;
  dispatch_floating(shape.dtype, [&]<typename T>() {
    const std::int64_t picks = shape.tokens * shape.heads * shape.knn;
    const std::int64_t forward_bytes =
        scratch_part<std::byte>(omp_get_max_threads() * Workspace<T>::bytes(shape));
    const std::int64_t backward_bytes =
        scratch_part<T>(picks) + scratch_part<std::int32_t>(2 * picks) +
        scratch_part<std::int32_t>(2 * shape.heads * (shape.n_keys + 2));
    bytes = std::max(forward_bytes, backward_bytes);
  });
  return bytes;
}

}  // namespace memengine
