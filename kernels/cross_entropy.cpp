// Softmax cross-entropy on the CPU, one row of logits at a time: with m = max(z) and
// s = sum(exp(z - m)),
//
//     loss = m + log s - z_target        dz_v = (exp(z_v - m) / s - [v = target]) gradient_scale
//
// The exponentials are written over the logits as they are summed, so each is computed once. The
// sum runs in double: a vocabulary has up to 128k terms.
#include "kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cpu/vector_math.h"
#include "kernels/dispatch.h"

namespace memengine {
namespace {

template <typename T>
T maximum(const T* values, std::int64_t count) {
  T largest = values[0];
#pragma omp simd reduction(max : largest)
  for (std::int64_t v = 0; v < count; ++v) largest = largest > values[v] ? largest : values[v];
  return largest;
}

// Sums exp(z - largest) in blocks of a thousand T, and the blocks in double. `store` keeps each
// term in place of its logit.
template <bool store, typename T>
double sum_exponentials(std::conditional_t<store, T*, const T*> z, std::int64_t count, T largest) {
  constexpr std::int64_t block = 1024;
  double total = 0;
  for (std::int64_t first = 0; first < count; first += block) {
    const std::int64_t last = std::min(count, first + block);
    T part = 0;
#pragma omp simd reduction(+ : part)
    for (std::int64_t v = first; v < last; ++v) {
      const T term = fast_exp(z[v] - largest);
      if constexpr (store) z[v] = term;
      part += term;
    }
    total += static_cast<double>(part);
  }
  return total;
}

}  // namespace

void cross_entropy(const Context& context, Tensor losses, Tensor logits, Tensor targets,
                   double gradient_scale) {
  MEMENGINE_ON_CUDA(context, cuda::cross_entropy(context, losses, logits, targets, gradient_scale));
  const std::int64_t rows = targets.size();
  const std::int64_t vocabulary = logits.dim(logits.rank() - 1);
  dispatch_floating(logits.dtype(), [&]<typename T>() {
    T* loss = losses.as<T>();
    T* all_logits = logits.as<T>();
    const std::int32_t* target = targets.as<std::int32_t>();
#pragma omp parallel for
    for (std::int64_t n = 0; n < rows; ++n) {
      T* z = all_logits + n * vocabulary;
      if (target[n] < 0) {
        loss[n] = 0;
        std::fill_n(z, vocabulary, T(0));
        continue;
      }
      const T largest = maximum(z, vocabulary);
      const T of_target = z[target[n]];
      const double total = sum_exponentials<true, T>(z, vocabulary, largest);
      loss[n] = static_cast<T>(std::log(total) + static_cast<double>(largest - of_target));
      const T scale = static_cast<T>(gradient_scale / total);
#pragma omp simd
      for (std::int64_t v = 0; v < vocabulary; ++v) z[v] *= scale;
      z[target[n]] -= static_cast<T>(gradient_scale);
    }
  });
}

void token_scores(const Context& context, Tensor log_probabilities, Tensor best, Tensor logits,
                  Tensor targets) {
  MEMENGINE_ON_CUDA(context, cuda::token_scores(context, log_probabilities, best, logits, targets));
  const std::int64_t rows = targets.size();
  const std::int64_t vocabulary = logits.dim(logits.rank() - 1);
  dispatch_floating(logits.dtype(), [&]<typename T>() {
    T* log_probability = log_probabilities.as<T>();
    std::int32_t* arg_max = best.as<std::int32_t>();
    const T* all_logits = logits.as<T>();
    const std::int32_t* target = targets.as<std::int32_t>();
#pragma omp parallel for if (rows > 1)
    for (std::int64_t n = 0; n < rows; ++n) {
      const T* z = all_logits + n * vocabulary;
      const T largest = maximum(z, vocabulary);
      const std::int64_t first = std::find(z, z + vocabulary, largest) - z;
      arg_max[n] = first < vocabulary ? static_cast<std::int32_t>(first) : 0;  // 0: a NaN
      if (target[n] < 0) {
        log_probability[n] = 0;
        continue;
      }
      const double total = sum_exponentials<false, T>(z, vocabulary, largest);
      log_probability[n] =
          static_cast<T>(static_cast<double>(z[target[n]] - largest) - std::log(total));
    }
  });
}

}  // namespace memengine
