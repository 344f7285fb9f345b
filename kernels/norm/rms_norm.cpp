// RMSNorm and the residual addition before it, on the CPU.
//
// With r = 1 / sqrt(mean(s^2) + epsilon) and y_c = s_c r w_c:
//
//     ds_c = r w_c dy_c - s_c r^3 / C * sum_j(dy_j w_j s_j)        dw_c += sum over rows of dy_c
//     s_c r
//
// Rows are divided among threads for ds; columns for dw, so that each sum runs in the order of the
// rows whatever the number of threads.
#include "kernels/norm/rms_norm.h"

#include <cmath>

#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"
#include "kernels/linear/cpu_gemm.h"

namespace memengine {
namespace {

template <typename T>
void forward(T* out, T* sum, T* inverse_rms, const T* x, const T* branch, const T* weight,
             std::int64_t rows, std::int64_t channels, double epsilon) {
#pragma omp parallel for if (rows * channels > worth_sharing)
  for (std::int64_t n = 0; n < rows; ++n) {
    const T* s = x + n * channels;
    if (branch) {
      T* added = sum + n * channels;
      for (std::int64_t c = 0; c < channels; ++c) added[c] = s[c] + branch[n * channels + c];
      s = added;
    }
    T squares = 0;
#pragma omp simd reduction(+ : squares)
    for (std::int64_t c = 0; c < channels; ++c) squares += s[c] * s[c];
    const T r = T(1) / std::sqrt(squares / static_cast<T>(channels) + static_cast<T>(epsilon));
    T* y = out + n * channels;
    for (std::int64_t c = 0; c < channels; ++c) y[c] = s[c] * r * weight[c];
    inverse_rms[n] = r;
  }
}

template <typename T>
void backward_weight(T* dweight, const T* dout, const T* x, const T* inverse_rms, std::int64_t rows,
                     std::int64_t channels) {
#pragma omp parallel
  {
    const ThreadShare columns = thread_share(channels, 16);
    for (std::int64_t n = 0; n < rows; ++n) {
      const T* dy = dout + n * channels;
      const T* s = x + n * channels;
      const T r = inverse_rms[n];
      for (std::int64_t c = columns.first; c < columns.last; ++c) dweight[c] += dy[c] * s[c] * r;
    }
  }
}

template <typename T>
void backward_input(T* dx, const T* dout, const T* dresidual, const T* x, const T* inverse_rms,
                    const T* weight, std::int64_t rows, std::int64_t channels) {
#pragma omp parallel for if (rows * channels > worth_sharing)
  for (std::int64_t n = 0; n < rows; ++n) {
    const T* dy = dout + n * channels;
    const T* s = x + n * channels;
    const T r = inverse_rms[n];
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t c = 0; c < channels; ++c) dot += dy[c] * weight[c] * s[c];
    const T along = dot * r * r * r / static_cast<T>(channels);
    T* ds = dx + n * channels;
    if (dresidual) {
      const T* beside = dresidual + n * channels;
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) {
        ds[c] = beside[c] + r * weight[c] * dy[c] - along * s[c];
      }
    } else {
#pragma omp simd
      for (std::int64_t c = 0; c < channels; ++c) ds[c] = r * weight[c] * dy[c] - along * s[c];
    }
  }
}

}  // namespace

void rms_norm_forward(const Context& context, Tensor out, Tensor sum, Tensor inverse_rms, Tensor x,
                      Tensor branch, Tensor weight, double epsilon) {
  MEMENGINE_ON_CUDA(
      context, cuda::rms_norm_forward(context, out, sum, inverse_rms, x, branch, weight, epsilon));
  if (sum.empty() != branch.empty())
    fail_internal("rms_norm: give both branch and sum, or neither");
  const std::int64_t channels = weight.size();
  dispatch_floating(x.dtype(), [&]<typename T>() {
    forward<T>(out.as<T>(), branch.empty() ? nullptr : sum.as<T>(), inverse_rms.as<T>(), x.as<T>(),
               branch.empty() ? nullptr : branch.as<T>(), weight.as<T>(), x.size() / channels,
               channels, epsilon);
  });
}

void rms_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dout,
                       Tensor dresidual, Tensor x, Tensor inverse_rms, Tensor weight) {
  MEMENGINE_ON_CUDA(context, cuda::rms_norm_backward(context, dx, dweight, dout, dresidual, x,
                                                     inverse_rms, weight));
  const std::int64_t channels = weight.size();
  const std::int64_t rows = x.size() / channels;
  dispatch_floating(x.dtype(), [&]<typename T>() {
    if (!dweight.empty()) {
      backward_weight<T>(dweight.as<T>(), dout.as<T>(), x.as<T>(), inverse_rms.as<T>(), rows,
                         channels);
    }
    backward_input<T>(dx.as<T>(), dout.as<T>(), dresidual.empty() ? nullptr : dresidual.as<T>(),
                      x.as<T>(), inverse_rms.as<T>(), weight.as<T>(), rows, channels);
  });
}

std::int64_t rms_norm_scratch_bytes(Device device, std::int64_t rows, std::int64_t channels) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::rms_norm_scratch_bytes(rows, channels);
  }
  return 0;
}

}  // namespace memengine
