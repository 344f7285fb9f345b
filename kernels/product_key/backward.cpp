// CPU gradients of the product-key lookup: sparse, they visit the picked pairs only.
//
// A pick's dscore goes to both of its sub-keys. dquery gathers the sub-keys that a token picked;
// dsub_keys is the same sum seen from the other side: the picks are sorted by sub-key, and each
// sub-key gathers the queries that picked it, a list of tokens at a time so that the sums stay in
// registers.
#include <algorithm>

#include "kernels/bag/bag_rows_cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"
#include "kernels/product_key/problem.h"

namespace memengine {
namespace {

constexpr std::int64_t listed_tokens = 128;

// dscores = weights * (dweights - <weights, dweights>): the softmax backwards. A pick's score is
// the sum of its two half scores, so its gradient is the gradient of either.
template <typename T>
void softmax_backward(T* dscores, const T* dweights, const T* weights, std::int64_t knn) {
  const T mean = dot(weights, dweights, knn);
  for (std::int64_t k = 0; k < knn; ++k) dscores[k] = weights[k] * (dweights[k] - mean);
}

// A stable counting sort of the picks of one head and half, `keys` [picks], by the sub-key that
// they use: the picks n * knn + k of sub-key i are order[starts[i] .. starts[i + 1]). `starts` has
// n_keys + 2 elements.
void sort_picks_by_key(std::int32_t* order, std::int32_t* starts, const std::int32_t* keys,
                       std::int64_t picks, std::int64_t n_keys) {
  std::fill_n(starts, n_keys + 2, 0);
  for (std::int64_t pick = 0; pick < picks; ++pick) ++starts[keys[pick] + 2];
  // Sums make starts[i + 1] the first place of key i; filling moves it on to the first of i + 1.
  for (std::int64_t i = 2; i < n_keys + 2; ++i) starts[i] += starts[i - 1];
  for (std::int64_t pick = 0; pick < picks; ++pick) {
    order[starts[keys[pick] + 1]++] = static_cast<std::int32_t>(pick);
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
  std::int32_t* orders = scratch.take<std::int32_t>(2 * heads * picks);  // [H, 2, picks]
  std::int32_t* starts = scratch.take<std::int32_t>(2 * heads * (n_keys + 2));

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

    // dsub_keys: each sub-key gathers the queries that picked it, in token order. A token that
    // picked it in several pairs counts once, with the sum of their dscores.
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t part = 0; part < 2 * heads; ++part) {
    sort_picks_by_key(orders + part * picks, starts + part * (n_keys + 2), keys + part * picks,
                      picks, n_keys);
  }
#pragma omp parallel for collapse(2) schedule(dynamic, 16)
  for (std::int64_t part = 0; part < 2 * heads; ++part) {
    for (std::int64_t key = 0; key < n_keys; ++key) {
      const std::int64_t head = part / 2;
      const std::int32_t* order = orders + part * picks;
      const std::int32_t end = starts[part * (n_keys + 2) + key + 1];
      const GatheredRows<T> queries{query + head * k_dim + part % 2 * half_dim, heads * k_dim};
      for (std::int32_t p = starts[part * (n_keys + 2) + key]; p < end;) {
        std::int32_t token[listed_tokens];
        T dscore[listed_tokens];
        std::int64_t count = 0;
        for (; p < end && count < listed_tokens; ++count) {
          token[count] = order[p] / static_cast<std::int32_t>(knn);
          const std::int64_t next_token = (token[count] + std::int64_t{1}) * knn;
          dscore[count] = 0;
          for (; p < end && order[p] < next_token; ++p) {
            dscore[count] += dscores[head * picks + order[p]];
          }
        }
        weighted_sum<true>(
            dsub_keys + (part * n_keys + key) * half_dim, queries, count, half_dim,
            [&](std::int64_t i) { return dscore[i]; }, [&](std::int64_t i) { return token[i]; });
      }
    }
  }
}

}  // namespace

namespace product_key {

std::int64_t backward_scratch_bytes(const ProductKeyShape& shape) {
  std::int64_t bytes = 0;
  dispatch_floating(shape.dtype, [&]<typename T>() {
    const std::int64_t picks = shape.tokens * shape.heads * shape.knn;
    bytes = scratch_part<T>(picks) + 2 * scratch_part<std::int32_t>(2 * picks) +
            scratch_part<std::int32_t>(2 * shape.heads * (shape.n_keys + 2));
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
