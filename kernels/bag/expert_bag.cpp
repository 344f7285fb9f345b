// CPU reference of PEER's experts: a dot product and a GELU a pick.
//
//     gelu(a) = a Phi(a),  gelu'(a) = Phi(a) + a phi(a),  Phi(a) = (1 + erf(a / sqrt 2)) / 2
//
// Phi is computed as erfc(-a / sqrt 2) / 2, which is the same and does not cancel for a << 0.
#include "kernels/bag/expert_bag.h"

#include <cmath>
#include <numbers>

#include "kernels/bag/bag_rows_cpu.h"
#include "kernels/dispatch.h"

namespace memengine {
namespace {

template <typename T>
T normal_cdf(T a) {
  return T{0.5} * std::erfc(-a * (std::numbers::sqrt2_v<T> / 2));
}

template <typename T>
T normal_density(T a) {
  constexpr T inverse_sqrt_2pi = std::numbers::inv_sqrtpi_v<T> / std::numbers::sqrt2_v<T>;
  return inverse_sqrt_2pi * std::exp(-a * a / 2);
}

template <typename T, typename Rows>
void forward(T* coefficients, T* activations, const T* x, const Rows& u,
             const std::int32_t* indices, const T* weights, std::int64_t tokens,
             std::int64_t picks_per_token, std::int64_t v_dim) {
#pragma omp parallel for schedule(static)
  for (std::int64_t n = 0; n < tokens; ++n) {
    const std::int64_t first = n * picks_per_token;
    dot_products(
        x + n * v_dim, u, picks_per_token, v_dim,
        [&](std::int64_t k) { return indices[first + k]; },
        [&](std::int64_t k, T a) {
          activations[first + k] = a;
          coefficients[first + k] = weights[first + k] * a * normal_cdf(a);
        });
  }
}

template <typename T>
void backward(T* dweights, T* dactivations, const T* dcoefficients, const T* activations,
              const T* weights, std::int64_t picks) {
#pragma omp parallel for schedule(static)
  for (std::int64_t pick = 0; pick < picks; ++pick) {
    const T a = activations[pick];
    const T cdf = normal_cdf(a);
    dweights[pick] = dcoefficients[pick] * a * cdf;
    dactivations[pick] = dcoefficients[pick] * weights[pick] * (cdf + a * normal_density(a));
  }
}

}  // namespace

void expert_bag_forward(const Context& context, Tensor coefficients, Tensor activations, Tensor x,
                        const BagRows& u, Tensor indices, Tensor weights) {
  MEMENGINE_ON_CUDA(context, cuda::expert_bag_forward(context, coefficients, activations, x, u,
                                                      indices, weights));
  dispatch_floating(x.dtype(), [&]<typename T>() {
    dispatch_bag_rows<T>(u, [&](const auto& rows) {
      forward(coefficients.as<T>(), activations.as<T>(), x.as<T>(), rows,
              indices.as<std::int32_t>(), weights.as<T>(), weights.dim(0), weights.dim(1),
              x.dim(1));
    });
  });
}

void expert_bag_backward(const Context& context, Tensor dweights, Tensor dactivations,
                         Tensor dcoefficients, Tensor activations, Tensor weights) {
  MEMENGINE_ON_CUDA(context, cuda::expert_bag_backward(context, dweights, dactivations,
                                                       dcoefficients, activations, weights));
  dispatch_floating(weights.dtype(), [&]<typename T>() {
    backward(dweights.as<T>(), dactivations.as<T>(), dcoefficients.as<T>(), activations.as<T>(),
             weights.as<T>(), weights.size());
  });
}

}  // namespace memengine
