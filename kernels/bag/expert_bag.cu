// PEER's experts on the GPU: the picked rows' dot products with the token (row_dots.cuh), and the
// GELU and its derivative element by element.
//
//     gelu(a) = a Phi(a),  gelu'(a) = Phi(a) + a phi(a),  Phi(a) = (1 + erf(a / sqrt 2)) / 2
#include "kernels/bag/expert_bag.h"

#include "kernels/bag/row_dots.cuh"

namespace memengine::cuda {
namespace {

__device__ __forceinline__ float normal_cdf(float a) {
  return 0.5F * (1 + erff(a * 0.707106781F));
}

__device__ __forceinline__ float normal_density(float a) {
  return 0.398942280F * expf(-0.5F * a * a);
}

template <typename T>
__device__ __forceinline__ float element(const T* x, std::int64_t i) {
  float value[1];
  load(x + i, value);
  return value[0];
}

template <typename T>
__device__ __forceinline__ void put(T* x, std::int64_t i, float value) {
  const float values[1] = {value};
  store(x + i, values);
}

template <typename T>
struct Activate {
  T* coefficients;
  T* activations;
  const T* weights;

  __device__ void operator()(std::int64_t pick, float dot) const {
    // The backward pass reads the activation as it is stored.
    const float a = rounded<T>(dot);
    put(activations, pick, a);
    put(coefficients, pick, element(weights, pick) * a * normal_cdf(a));
  }
};

template <typename T>
__global__ void __launch_bounds__(256)
    backward_kernel(T* dweights, T* dactivations, const T* dcoefficients, const T* activations,
                    const T* weights, std::int64_t picks) {
  const std::int64_t pick = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (pick >= picks) return;
  const float a = element(activations, pick);
  const float dc = element(dcoefficients, pick);
  const float weight = element(weights, pick);
  const float cdf = normal_cdf(a);
  put(dweights, pick, dc * a * cdf);
  put(dactivations, pick, dc * weight * (cdf + a * normal_density(a)));
}

}  // namespace

void expert_bag_forward(const Context& context, Tensor coefficients, Tensor activations, Tensor x,
                        const BagRows& u, Tensor indices, Tensor weights) {
  dispatch_storage("expert_bag_forward", x.dtype(), [&]<typename T>() {
    const Activate<T> activate{coefficients.as<T>(), activations.as<T>(), weights.as<T>()};
    row_dots<T>("expert_bag_forward", context, activate, x, u, indices);
  });
}

void expert_bag_backward(const Context& context, Tensor dweights, Tensor dactivations,
                         Tensor dcoefficients, Tensor activations, Tensor weights) {
  const std::int64_t picks = weights.size();
  if (picks == 0) return;
  dispatch_storage("expert_bag_backward", weights.dtype(), [&]<typename T>() {
    backward_kernel<<<grid_size(ceil_divide(picks, 256)), 256, 0, context.stream>>>(
        dweights.as<T>(), dactivations.as<T>(), dcoefficients.as<T>(), activations.as<T>(),
        weights.as<T>(), picks);
  });
  MEMENGINE_LAUNCH_CHECK("expert_bag_backward");
}

}  // namespace memengine::cuda
