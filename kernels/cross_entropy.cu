// Softmax cross-entropy on CUDA: one block per row of logits.
//
// With m = max(z) and s = sum(exp(z - m)) the loss is m + log s - z_target, and the gradient
// (exp(z - m) / s - onehot) * scale goes over the logits. A row is read once and kept in registers
// where it fits (up to 32,768 logits); a longer one is read twice, the second time mostly from the
// L2 cache. Both find m and s in one pass: each thread keeps a running pair (m, s), and pairs merge
// by (m, s) + (m', s') = (M, s e^(m - M) + s' e^(m' - M)) with M = max(m, m').
#include "kernels/cross_entropy.h"

#include <cfloat>
#include <type_traits>

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

// A log-sum-exp under way. Sum float, with the fast exponential: for a gradient. Sum double, with
// the exact one: errors of 1e-7 per token would add up where a text's tokens are scored.
template <typename Sum>
struct Softmax {
  float largest;
  Sum sum;

  static __device__ __forceinline__ float exponential(float x) {
    return sizeof(Sum) == 8 ? expf(x) : __expf(x);
  }

  // Nothing added yet. The lowest float, because the difference of two infinities is not a number.
  static __device__ __forceinline__ Softmax none() { return {-FLT_MAX, 0}; }

  template <int width>
  __device__ __forceinline__ void add(const float (&x)[width]) {
    float top = largest;
#pragma unroll
    for (int i = 0; i < width; ++i) top = fmaxf(top, x[i]);
    Sum part = 0;
#pragma unroll
    for (int i = 0; i < width; ++i) part += exponential(x[i] - top);
    sum = sum * exponential(largest - top) + part;
    largest = top;
  }
  __device__ __forceinline__ void merge(Softmax other) {
    const float top = fmaxf(largest, other.largest);
    sum = sum * exponential(largest - top) + other.sum * exponential(other.largest - top);
    largest = top;
  }
  __device__ __forceinline__ Softmax from_lane(int distance) const {
    return {__shfl_xor_sync(0xffffffffU, largest, distance),
            __shfl_xor_sync(0xffffffffU, sum, distance)};
  }
};

// The largest logit so far and its lowest index.
struct Best {
  float logit;
  std::int32_t index;

  static __device__ __forceinline__ Best none() { return {-INFINITY, INT32_MAX}; }

  __device__ __forceinline__ void merge(Best other) {
    if (other.logit > logit || (other.logit == logit && other.index < index)) *this = other;
  }
  __device__ __forceinline__ Best from_lane(int distance) const {
    return {__shfl_xor_sync(0xffffffffU, logit, distance),
            __shfl_xor_sync(0xffffffffU, index, distance)};
  }
};

template <typename State>
__device__ __forceinline__ State warp_merge(State state) {
#pragma unroll
  for (int distance = warp_size / 2; distance > 0; distance /= 2) {
    state.merge(state.from_lane(distance));
  }
  return state;
}

// All threads' states merged, for all threads. Ends every earlier access to memory in the block.
template <int threads, typename State>
__device__ __forceinline__ State block_merge(State state) {
  constexpr int warps = threads / warp_size;
  __shared__ State of_warp[warps];
  state = warp_merge(state);
  if (threadIdx.x % warp_size == 0) of_warp[threadIdx.x / warp_size] = state;
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  return warp_merge(lane < warps ? of_warp[lane] : State::none());
}

// chunks > 0: a thread keeps that many pieces of the row in registers; 0: the row is read twice.
template <typename T, int width, int threads, int chunks>
__global__ void __launch_bounds__(threads, threads == 512 ? 2 : 1)
    cross_entropy_kernel(float* losses, T* logits, const std::int32_t* targets, int vocabulary,
                         float gradient_scale) {
  const std::int64_t row = blockIdx.x;
  T* const z = logits + row * vocabulary;
  const int target = targets[row];
  const int first = static_cast<int>(threadIdx.x) * width;
  constexpr int stride = threads * width;

  if (target < 0) {
    const float zeros[width] = {};
    for (int column = first; column < vocabulary; column += stride) store(z + column, zeros);
    if (threadIdx.x == 0) losses[row] = 0;
    return;
  }

  // The thread that will write the target's gradient also knows its logit from before.
  const bool owns_target = target / width % threads == static_cast<int>(threadIdx.x);
  const float target_logit = owns_target ? load<1>(z + target)[0] : 0.0F;
  Softmax<float> softmax = Softmax<float>::none();
  Pack<T, width> kept[chunks > 0 ? chunks : 1];
  if constexpr (chunks > 0) {
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int column = first + chunk * stride;
      if (column < vocabulary) kept[chunk] = load<width>(z + column);
    }
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
      if (first + chunk * stride >= vocabulary) continue;
      float x[width];
#pragma unroll
      for (int i = 0; i < width; ++i) x[i] = kept[chunk][i];
      softmax.add(x);
    }
  } else {
#pragma unroll 4
    for (int column = first; column < vocabulary; column += stride) {
      float x[width];
      load(z + column, x);
      softmax.add(x);
    }
  }

  softmax = block_merge<threads>(softmax);
  const float factor = gradient_scale / softmax.sum;

  const auto write_gradient = [&](int column, float(&x)[width]) {
#pragma unroll
    for (int i = 0; i < width; ++i) x[i] = __expf(x[i] - softmax.largest) * factor;
    store(z + column, x);
  };
  if constexpr (chunks > 0) {
#pragma unroll
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const int column = first + chunk * stride;
      if (column >= vocabulary) continue;
      float x[width];
#pragma unroll
      for (int i = 0; i < width; ++i) x[i] = kept[chunk][i];
      write_gradient(column, x);
    }
  } else {
#pragma unroll 4
    for (int column = first; column < vocabulary; column += stride) {
      float x[width];
      load(z + column, x);
      write_gradient(column, x);
    }
  }
  if (!owns_target) return;
  losses[row] = softmax.largest - target_logit + logf(softmax.sum);
  const float gradient[1] = {__expf(target_logit - softmax.largest) * factor - gradient_scale};
  store(z + target, gradient);
}

template <typename T, int width, int threads>
__global__ void __launch_bounds__(threads)
    token_scores_kernel(float* log_probabilities, std::int32_t* best_out, const T* logits,
                        const std::int32_t* targets, int vocabulary) {
  const std::int64_t row = blockIdx.x;
  const T* const z = logits + row * vocabulary;
  using Sum = std::conditional_t<sizeof(T) == 4, double, float>;
  Softmax<Sum> softmax = Softmax<Sum>::none();
  Best best = Best::none();
#pragma unroll 4
  for (int column = static_cast<int>(threadIdx.x) * width; column < vocabulary;
       column += threads * width) {
    float x[width];
    load(z + column, x);
    softmax.add(x);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      if (x[i] > best.logit) best = {x[i], column + i};  // columns ascend: the first one stays
    }
  }
  softmax = block_merge<threads>(softmax);
  best = block_merge<threads>(best);
  if (threadIdx.x != 0) return;
  best_out[row] = best.index < vocabulary ? best.index : 0;  // 0: nothing but NaN
  const int target = targets[row];
  const Sum below = target < 0 ? 0 : Sum(load<1>(z + target)[0]) - softmax.largest;
  log_probabilities[row] = target < 0 ? 0.0F : static_cast<float>(below - log(softmax.sum));
}

}  // namespace

void cross_entropy(const Context& context, Tensor losses, Tensor logits, Tensor targets,
                   double gradient_scale) {
  const std::int64_t rows = targets.size();
  const std::int64_t vocabulary = logits.dim(logits.rank() - 1);
  if (rows == 0) return;
  dispatch_storage("cross_entropy", logits.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width, int threads, int chunks>() {
      cross_entropy_kernel<T, width, threads, chunks>
          <<<grid_size(rows), threads, 0, context.stream>>>(
              losses.as<float>(), logits.as<T>(), targets.as<std::int32_t>(),
              static_cast<int>(vocabulary), static_cast<float>(gradient_scale));
    };
    constexpr int width = vector_width<T>;
    constexpr int most_threads = sizeof(T) == 2 ? 512 : 1024;
    if (!in_vectors<T>(vocabulary, {logits.data()}))
      launch.template operator()<1, 512, 0>();
    else if (vocabulary <= 256 * 4 * width)
      launch.template operator()<width, 256, 4>();
    else if (vocabulary <= most_threads * 8 * width)
      launch.template operator()<width, most_threads, 8>();
    else
      launch.template operator()<width, 1024, 0>();
  });
  MEMENGINE_LAUNCH_CHECK("cross_entropy");
}

void token_scores(const Context& context, Tensor log_probabilities, Tensor best, Tensor logits,
                  Tensor targets) {
  const std::int64_t rows = targets.size();
  const std::int64_t vocabulary = logits.dim(logits.rank() - 1);
  if (rows == 0) return;
  dispatch_storage("token_scores", logits.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width>() {
      token_scores_kernel<T, width, 512><<<grid_size(rows), 512, 0, context.stream>>>(
          log_probabilities.as<float>(), best.as<std::int32_t>(), logits.as<T>(),
          targets.as<std::int32_t>(), static_cast<int>(vocabulary));
    };
    if (in_vectors<T>(vocabulary, {logits.data()}))
      launch.template operator()<vector_width<T>>();
    else
      launch.template operator()<1>();
  });
  MEMENGINE_LAUNCH_CHECK("token_scores");
}

}  // namespace memengine::cuda
