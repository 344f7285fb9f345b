// Batch normalisation on the CPU. With x^ = (x - mean) inverse_std, over the N tokens of all ranks:
//
//     dweight_f = sum_n dy x^        dbias_f = sum_n dy
//     dx = weight inverse_std (dy - dbias / N - x^ dweight / N)
//
// Each thread owns a share of the features and walks down the tokens, summing in double: the order
// of a sum is the order of the tokens, whatever the number of threads.
#include "kernels/norm/batch_norm.h"

#include <cmath>

#include "kernels/dispatch.h"
#include "kernels/linear/cpu_gemm.h"
#include "kernels/runtime/communicator.h"

namespace memengine {
namespace {

constexpr double epsilon = 1e-5;
constexpr double momentum = 0.1;

// sums[f] = sum over this rank's tokens of term(n, f).
template <typename Term>
void sum_columns(double* sums, std::int64_t rows, std::int64_t features, Term term) {
#pragma omp parallel
  {
    const ThreadShare columns = thread_share(features, 16);
    for (std::int64_t f = columns.first; f < columns.last; ++f) sums[f] = 0;
    for (std::int64_t n = 0; n < rows; ++n) {
#pragma omp simd
      for (std::int64_t f = columns.first; f < columns.last; ++f) sums[f] += term(n, f);
    }
  }
}

// out = x * scale + shift, feature by feature.
template <typename T>
void scale_and_shift(T* out, const T* x, const T* scale, const T* shift, std::int64_t rows,
                     std::int64_t features) {
#pragma omp parallel for
  for (std::int64_t n = 0; n < rows; ++n) {
#pragma omp simd
    for (std::int64_t f = 0; f < features; ++f) {
      out[n * features + f] = x[n * features + f] * scale[f] + shift[f];
    }
  }
}

}  // namespace

void batch_norm_forward_train(const Context& context, Tensor out, Tensor mean, Tensor inverse_std,
                              Tensor running_mean, Tensor running_variance, Tensor x, Tensor weight,
                              Tensor bias) {
  MEMENGINE_ON_CUDA(context,
                    cuda::batch_norm_forward_train(context, out, mean, inverse_std, running_mean,
                                                   running_variance, x, weight, bias));
  const std::int64_t features = weight.size();
  const std::int64_t rows = x.size() / features;
  const double tokens = static_cast<double>(rows * context.communicator->size());
  Scratch scratch(context);
  double* sums = scratch.take<double>(features);
  const Tensor all_sums(sums, DType::f64, {features});
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const T* values = x.as<T>();
    T* means = mean.as<T>();
    T* inverse = inverse_std.as<T>();
    sum_columns(sums, rows, features, [=](std::int64_t n, std::int64_t f) {
      return static_cast<double>(values[n * features + f]);
    });
    context.communicator->all_reduce_sum(context, all_sums);
    for (std::int64_t f = 0; f < features; ++f) means[f] = static_cast<T>(sums[f] / tokens);

    // The second pass over x takes squares around the mean, which loses nothing to cancellation.
    sum_columns(sums, rows, features, [=](std::int64_t n, std::int64_t f) {
      const double centred = static_cast<double>(values[n * features + f] - means[f]);
      return centred * centred;
    });
    context.communicator->all_reduce_sum(context, all_sums);

    T* scale = scratch.take<T>(features);
    T* shift = scratch.take<T>(features);
    T* average = running_mean.as<T>();
    T* average_variance = running_variance.as<T>();
    const double unbiased = tokens > 1 ? tokens / (tokens - 1) : 1.0;
    for (std::int64_t f = 0; f < features; ++f) {
      const double variance = sums[f] / tokens;
      inverse[f] = static_cast<T>(1.0 / std::sqrt(variance + epsilon));
      average[f] = static_cast<T>((1 - momentum) * average[f] + momentum * means[f]);
      average_variance[f] =
          static_cast<T>((1 - momentum) * average_variance[f] + momentum * variance * unbiased);
      scale[f] = inverse[f] * weight.as<T>()[f];
      shift[f] = bias.as<T>()[f] - means[f] * scale[f];
    }
    scale_and_shift<T>(out.as<T>(), values, scale, shift, rows, features);
  });
}

void batch_norm_forward_eval(const Context& context, Tensor out, Tensor x, Tensor running_mean,
                             Tensor running_variance, Tensor weight, Tensor bias) {
  MEMENGINE_ON_CUDA(context, cuda::batch_norm_forward_eval(context, out, x, running_mean,
                                                           running_variance, weight, bias));
  const std::int64_t features = weight.size();
  dispatch_floating(x.dtype(), [&]<typename T>() {
    Scratch scratch(context);
    T* scale = scratch.take<T>(features);
    T* shift = scratch.take<T>(features);
    for (std::int64_t f = 0; f < features; ++f) {
      const double variance = static_cast<double>(running_variance.as<T>()[f]);
      scale[f] = static_cast<T>(weight.as<T>()[f] / std::sqrt(variance + epsilon));
      shift[f] = bias.as<T>()[f] - running_mean.as<T>()[f] * scale[f];
    }
    scale_and_shift<T>(out.as<T>(), x.as<T>(), scale, shift, x.size() / features, features);
  });
}

void batch_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dbias,
                         Tensor dout, Tensor x, Tensor mean, Tensor inverse_std, Tensor weight) {
  MEMENGINE_ON_CUDA(context, cuda::batch_norm_backward(context, dx, dweight, dbias, dout, x, mean,
                                                       inverse_std, weight));
  const std::int64_t features = weight.size();
  const std::int64_t rows = x.size() / features;
  const double tokens = static_cast<double>(rows * context.communicator->size());
  double* sums = Scratch(context).take<double>(2 * features);
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const T* values = x.as<T>();
    const T* dy = dout.as<T>();
    const T* means = mean.as<T>();
    const T* inverse = inverse_std.as<T>();
    const T* scale = weight.as<T>();
    sum_columns(sums, rows, features, [=](std::int64_t n, std::int64_t f) {
      return static_cast<double>(dy[n * features + f]);
    });
    sum_columns(sums + features, rows, features, [=](std::int64_t n, std::int64_t f) {
      const std::int64_t i = n * features + f;
      return static_cast<double>(dy[i] * (values[i] - means[f]) * inverse[f]);
    });
    // The parameters' gradients are this rank's own: all gradients are summed over ranks later.
    for (std::int64_t f = 0; f < features; ++f) {
      dbias.as<T>()[f] += static_cast<T>(sums[f]);
      dweight.as<T>()[f] += static_cast<T>(sums[features + f]);
    }
    context.communicator->all_reduce_sum(context, Tensor(sums, DType::f64, {2, features}));

    T* gradient = dx.as<T>();
#pragma omp parallel for
    for (std::int64_t n = 0; n < rows; ++n) {
#pragma omp simd
      for (std::int64_t f = 0; f < features; ++f) {
        const std::int64_t i = n * features + f;
        const T normalised = (values[i] - means[f]) * inverse[f];
        const T mean_of_dy = static_cast<T>(sums[f] / tokens);
        const T along = static_cast<T>(sums[features + f] / tokens);
        gradient[i] = scale[f] * inverse[f] * (dy[i] - mean_of_dy - normalised * along);
      }
    }
  });
}

std::int64_t batch_norm_scratch_bytes(Device device, std::int64_t rows, std::int64_t features) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::batch_norm_scratch_bytes(rows, features);
  }
  return 3 * scratch_part<double>(features);
}

}  // namespace memengine
