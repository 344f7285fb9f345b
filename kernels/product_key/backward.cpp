// CPU gradients of the product-key lookup: sparse, they visit the picked pairs only.
//
// A pick's dscore goes to both of its sub-keys. dquery gathers the sub-keys that a token picked;
// dsub_keys is the same sum seen from the other side: the picks are sorted by sub-key, and each
// sub-key gathers the queries that picked it.
#include <algorithm>

#include "kernels/bag/bag_rows_cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"
#include "kernels/product_key/problem.h"

namespace memengine {
namespace {

// dscores = weights * (dweights - <weights, dweights>): the softmax backwards. A pick's score is
// the sum of its two half scores, so its gradient is the gradient of either.
template <typename T>
void softmax_backward(T* dscores, const T* dweights, const T* weights, std::int64_t knn) {
  const T mean = dot(weights, dweights, knn);
  for (std::int64_t k = 0; k < knn; ++k) dscores[k] = weights[k] * (dweights[k] - mean);
}

// Of one head and half: for each sub-key the tokens that picked it, ascending, and what each brings
// to it. A token that picked it in several pairs stands once, with the sum of their dscores. The
// list of sub-key i begins at starts[i]; there is room for every pick.
template <typename T>
struct PickLists {
  std::int32_t* tokens;  // [picks]
  T* sums;               // [picks]
  std::int32_t* starts;  // [n_keys + 1]
  std::int32_t* lasts;   // [n_keys] places of their last tokens; starts[i] - 1: none

  std::int64_t count(std::int64_t key) const { return lasts[key] + 1 - starts[key]; }
};

// A counting sort of the picks of one head by `keys` [2, N, knn], both halves side by side, which
// do not wait for each other; `newest` [2, n_keys] is working memory. Whether a pick begins a new
// token is as good as random, so it is an addend and not a branch.
template <typename T>
void list_tokens(const PickLists<T> (&lists)[2], std::int32_t* newest, const std::int32_t* keys,
                 const T* dscores, std::int64_t tokens, std::int64_t knn, std::int64_t n_keys) {
  const std::int64_t picks = tokens * knn;
  for (const PickLists<T>& half : lists) std::fill_n(half.starts, n_keys + 1, 0);
  for (std::int64_t pick = 0; pick < picks; ++pick) {
    ++lists[0].starts[keys[pick] + 1];
    ++lists[1].starts[keys[picks + pick] + 1];
  }
  for (const PickLists<T>& half : lists) {
    for (std::int64_t i = 0; i < n_keys; ++i) {
      half.starts[i + 1] += half.starts[i];
      half.lasts[i] = half.starts[i] - 1;
    }
  }
  std::fill_n(newest, 2 * n_keys, -1);
  const auto add = [&](std::int64_t half, std::int64_t pick, std::int32_t token) {
    const PickLists<T>& list = lists[half];
    const std::int32_t key = keys[half * picks + pick];
    std::int32_t& before = newest[half * n_keys + key];
    const bool is_new = before != token;
    const std::int32_t place = list.lasts[key] += is_new ? 1 : 0;
    before = list.tokens[place] = token;
    list.sums[place] = (is_new ? T{0} : list.sums[place]) + dscores[pick];
  };
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t pick = token * knn; pick < (token + 1) * knn; ++pick) {
      add(0, pick, static_cast<std::int32_t>(token));
      add(1, pick, static_cast<std::int32_t>(token));
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
  T* dscores = scratch.take<T>(heads * picks);                           // [H, N, knn]
  std::int32_t* keys = scratch.take<std::int32_t>(2 * heads * picks);    // [H, 2, N, knn]
  std::int32_t* listed = scratch.take<std::int32_t>(2 * heads * picks);  // [H, 2, picks]
  T* sums = scratch.take<T>(2 * heads * picks);                          // [H, 2, picks]
  std::int32_t* bounds = scratch.take<std::int32_t>(2 * heads * (2 * n_keys + 1));
  std::int32_t* newest = scratch.take<std::int32_t>(2 * heads * n_keys);
  const auto lists = [=](std::int64_t part) {
    std::int32_t* starts = bounds + part * (2 * n_keys + 1);
    return PickLists<T>{listed + part * picks, sums + part * picks, starts, starts + n_keys + 1};
  };

  // dquery: each half gathers the sub-keys it picked, dscore * key.
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int64_t group = token * heads + head;
      T* dscore = dscores + head * picks + token * knn;
      std::int32_t* first = keys + head * 2 * picks + token * knn;
      std::int32_t* second = first + picks;
      softmax_backward(dscore, dweights + group * knn, weights + group * knn, knn);
      // Half a row more than the index is no nearer to a whole quotient than 1 / (2 n_keys), far
      // above a double's rounding, and products vectorise where divisions do not.
      const double reciprocal = 1.0 / static_cast<double>(n_keys);
      const auto divisor = static_cast<std::int32_t>(n_keys);
#pragma omp simd
      for (std::int64_t k = 0; k < knn; ++k) {
        const std::int32_t row = indices[group * knn + k];
        first[k] = static_cast<std::int32_t>((row + 0.5) * reciprocal);
        second[k] = row - first[k] * divisor;
      }
      const T* first_keys = sub_keys + head * 2 * n_keys * half_dim;
      const auto weight = [&](std::int64_t k) { return dscore[k]; };
      weighted_sum(dquery + group * k_dim, GatheredRows<T>{first_keys, half_dim}, knn, half_dim,
                   weight, [&](std::int64_t k) { return first[k]; });
      weighted_sum(dquery + group * k_dim + half_dim,
                   GatheredRows<T>{first_keys + n_keys * half_dim, half_dim}, knn, half_dim, weight,
                   [&](std::int64_t k) { return second[k]; });
    }
  }

  if (dsub_keys == nullptr) return;

    // dsub_keys: each sub-key gathers the queries that picked it, in token order.
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t head = 0; head < heads; ++head) {
    list_tokens({lists(2 * head), lists(2 * head + 1)}, newest + head * 2 * n_keys,
                keys + head * 2 * picks, dscores + head * picks, tokens, knn, n_keys);
  }
#pragma omp parallel for collapse(2) schedule(dynamic, 16)
  for (std::int64_t part = 0; part < 2 * heads; ++part) {
    for (std::int64_t key = 0; key < n_keys; ++key) {
      const PickLists<T> of_part = lists(part);
      const std::int32_t* token = of_part.tokens + of_part.starts[key];
      const T* sum = of_part.sums + of_part.starts[key];
      weighted_sum<true>(
          dsub_keys + (part * n_keys + key) * half_dim,
          GatheredRows<T>{query + part / 2 * k_dim + part % 2 * half_dim, heads * k_dim},
          of_part.count(key), half_dim, [&](std::int64_t i) { return sum[i]; },
          [&](std::int64_t i) { return token[i]; });
    }
  }
}

}  // namespace

namespace product_key {

std::int64_t backward_scratch_bytes(const ProductKeyShape& shape) {
  std::int64_t bytes = 0;
  dispatch_floating(shape.dtype, [&]<typename T>() {
    const std::int64_t picks = shape.tokens * shape.heads * shape.knn;
    bytes = scratch_part<T>(picks) + scratch_part<T>(2 * picks) +
            2 * scratch_part<std::int32_t>(2 * picks) +
            scratch_part<std::int32_t>(2 * shape.heads * (2 * shape.n_keys + 1)) +
            scratch_part<std::int32_t>(2 * shape.heads * shape.n_keys);
  });
  return bytes;
}

}  // namespace product_key

void product_key_backward(const Context& context, Tensor dquery, Tensor dsub_keys, Tensor dweights,
                          Tensor weights, Tensor indices, Tensor query, Tensor sub_keys) {
  MEMENGINE_ON_CUDA(context, cuda::product_key_backward(context, dquery, dsub_keys, dweights,
                                                        weights, indices, query, sub_keys));
  const ProductKeyShape shape = product_key::checked_shape(indices, query, sub_keys);
  dispatch_floating(query.dtype(), [&]<typename T>() {
    backward(context, shape, dquery.as<T>(), dsub_keys.empty() ? nullptr : dsub_keys.as<T>(),
             dweights.as<T>(), weights.as<T>(), indices.as<std::int32_t>(), query.as<T>(),
             sub_keys.as<T>());
  });
}

}  // namespace memengine
