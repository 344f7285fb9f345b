// Layer normalisation of the queries on the CPU: statistics over the k_dim elements of one head of
// one token. With x^ = (x - mean) inverse_std and g = weight dy:
//
//     dx = inverse_std (g - mean(g) - x^ mean(g x^))
//     dweight = sum_n dy x^        dbias = sum_n dy
//
// The sums over tokens divide the features among threads, so their order is that of the tokens.
#include "kernels/norm/layer_norm.h"

#include <cmath>

#include "kernels/dispatch.h"
#include "kernels/linear/cpu_gemm.h"

namespace memengine {
namespace {

constexpr double row_epsilon = 1e-5;

template <typename T>
void forward(T* out, T* mean, T* inverse_std, const T* x, const T* weight, const T* bias,
             std::int64_t rows, std::int64_t heads, std::int64_t k_dim) {
#pragma omp parallel for
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* values = x + row * k_dim;
    const T* scale = weight + row % heads * k_dim;
    const T* shift = bias + row % heads * k_dim;
    T total = 0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t k = 0; k < k_dim; ++k) total += values[k];
    const T centre = total / static_cast<T>(k_dim);
    T squares = 0;
#pragma omp simd reduction(+ : squares)
    for (std::int64_t k = 0; k < k_dim; ++k) {
      squares += (values[k] - centre) * (values[k] - centre);
    }
    const T inverse =
        T(1) / std::sqrt(squares / static_cast<T>(k_dim) + static_cast<T>(row_epsilon));
    T* y = out + row * k_dim;
#pragma omp simd
    for (std::int64_t k = 0; k < k_dim; ++k) {
      y[k] = (values[k] - centre) * inverse * scale[k] + shift[k];
    }
    mean[row] = centre;
    inverse_std[row] = inverse;
  }
}

template <typename T>
void backward_parameters(T* dweight, T* dbias, const T* dout, const T* x, const T* mean,
                         const T* inverse_std, std::int64_t tokens, std::int64_t heads,
                         std::int64_t k_dim) {
#pragma omp parallel
  for (std::int64_t head = 0; head < heads; ++head) {
    const ThreadShare columns = thread_share(k_dim, 16);
    T* dscale = dweight + head * k_dim;
    T* dshift = dbias + head * k_dim;
    for (std::int64_t n = 0; n < tokens; ++n) {
      const std::int64_t row = n * heads + head;
      const T* dy = dout + row * k_dim;
      const T* values = x + row * k_dim;
#pragma omp simd
      for (std::int64_t k = columns.first; k < columns.last; ++k) {
        dscale[k] += dy[k] * (values[k] - mean[row]) * inverse_std[row];
        dshift[k] += dy[k];
      }
    }
  }
}

template <typename T>
void backward_input(T* dx, const T* dout, const T* x, const T* mean, const T* inverse_std,
                    const T* weight, std::int64_t rows, std::int64_t heads, std::int64_t k_dim) {
#pragma omp parallel for
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* dy = dout + row * k_dim;
    const T* values = x + row * k_dim;
    const T* scale = weight + row % heads * k_dim;
    const T centre = mean[row];
    const T inverse = inverse_std[row];
    T sum_g = 0;
    T sum_gx = 0;
#pragma omp simd reduction(+ : sum_g, sum_gx)
    for (std::int64_t k = 0; k < k_dim; ++k) {
      const T g = scale[k] * dy[k];
      sum_g += g;
      sum_gx += g * (values[k] - centre) * inverse;
    }
    const T mean_g = sum_g / static_cast<T>(k_dim);
    const T mean_gx = sum_gx / static_cast<T>(k_dim);
    T* gradient = dx + row * k_dim;
#pragma omp simd
    for (std::int64_t k = 0; k < k_dim; ++k) {
      const T normalised = (values[k] - centre) * inverse;
      gradient[k] = inverse * (scale[k] * dy[k] - mean_g - normalised * mean_gx);
    }
  }
}

}  // namespace

void layer_norm_forward(const Context& context, Tensor out, Tensor mean, Tensor inverse_std,
                        Tensor x, Tensor weight, Tensor bias) {
  MEMENGINE_ON_CUDA(context,
                    cuda::layer_norm_forward(context, out, mean, inverse_std, x, weight, bias));
  const std::int64_t heads = weight.dim(0);
  const std::int64_t k_dim = weight.dim(1);
  dispatch_floating(x.dtype(), [&]<typename T>() {
    forward<T>(out.as<T>(), mean.as<T>(), inverse_std.as<T>(), x.as<T>(), weight.as<T>(),
               bias.as<T>(), x.size() / k_dim, heads, k_dim);
  });
}

void layer_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dbias,
                         Tensor dout, Tensor x, Tensor mean, Tensor inverse_std, Tensor weight) {
  MEMENGINE_ON_CUDA(context, cuda::layer_norm_backward(context, dx, dweight, dbias, dout, x, mean,
                                                       inverse_std, weight));
  const std::int64_t heads = weight.dim(0);
  const std::int64_t k_dim = weight.dim(1);
  const std::int64_t rows = x.size() / k_dim;
  dispatch_floating(x.dtype(), [&]<typename T>() {
    // The parameters first: dx may be written over dout.
    if (!dweight.empty()) {
      backward_parameters<T>(dweight.as<T>(), dbias.as<T>(), dout.as<T>(), x.as<T>(), mean.as<T>(),
                             inverse_std.as<T>(), rows / heads, heads, k_dim);
    }
    backward_input<T>(dx.as<T>(), dout.as<T>(), x.as<T>(), mean.as<T>(), inverse_std.as<T>(),
                      weight.as<T>(), rows, heads, k_dim);
  });
}

std::int64_t layer_norm_scratch_bytes(Device device, std::int64_t rows, std::int64_t features) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::layer_norm_scratch_bytes(rows, features);
  }
  return 0;
}

}  // namespace memengine
