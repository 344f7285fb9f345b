// Token embedding on the CPU: copy rows out, add rows back.
//
// In the backward pass each thread owns a share of the columns and walks over all tokens, so a
// token that appears often is summed in the order of the batch, whatever the number of threads.
#include "kernels/embedding.h"

#include <algorithm>

#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"
#include "kernels/linear/cpu_gemm.h"

namespace memengine {

void embedding_forward(const Context& context, Tensor out, Tensor tokens, Tensor weight) {
  MEMENGINE_ON_CUDA(context, cuda::embedding_forward(context, out, tokens, weight));
  const std::int64_t count = tokens.size();
  const std::int64_t channels = weight.dim(1);
  dispatch_floating(out.dtype(), [&]<typename T>() {
    T* rows = out.as<T>();
    const T* table = weight.as<T>();
    const std::int32_t* token = tokens.as<std::int32_t>();
#pragma omp parallel for if (count * channels > worth_sharing)
    for (std::int64_t n = 0; n < count; ++n) {
      std::copy_n(table + token[n] * channels, channels, rows + n * channels);
    }
  });
}

void embedding_backward(const Context& context, Tensor dweight, Tensor dout, Tensor tokens) {
  MEMENGINE_ON_CUDA(context, cuda::embedding_backward(context, dweight, dout, tokens));
  const std::int64_t count = tokens.size();
  const std::int64_t channels = dweight.dim(1);
  dispatch_floating(dout.dtype(), [&]<typename T>() {
    T* table = dweight.as<T>();
    const T* gradient = dout.as<T>();
    const std::int32_t* token = tokens.as<std::int32_t>();
#pragma omp parallel
    {
      const ThreadShare columns = thread_share(channels, 16);
      for (std::int64_t n = 0; n < count; ++n) {
        T* row = table + token[n] * channels;
        const T* dy = gradient + n * channels;
#pragma omp simd
        for (std::int64_t c = columns.first; c < columns.last; ++c) row[c] += dy[c];
      }
    }
  });
}

std::int64_t embedding_scratch_bytes(Device device, std::int64_t tokens, std::int64_t vocabulary) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::embedding_scratch_bytes(tokens, vocabulary);
  }
  return 0;
}

}  // namespace memengine
