// Element-wise ops on the CPU.
#include "kernels/pointwise/elementwise.h"

#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"

namespace memengine {

void add(const Context& context, Tensor out, Tensor a, Tensor b) {
  MEMENGINE_ON_CUDA(context, cuda::add(context, out, a, b));
  const std::int64_t count = out.size();
  dispatch_floating(out.dtype(), [&]<typename T>() {
    T* sum = out.as<T>();
    const T* left = a.as<T>();
    const T* right = b.as<T>();
#pragma omp parallel for simd if (parallel : count > worth_sharing)
    for (std::int64_t i = 0; i < count; ++i) sum[i] = left[i] + right[i];
  });
}

void cast(const Context& context, Tensor out, Tensor x) {
  MEMENGINE_ON_CUDA(context, cuda::cast(context, out, x));
  const std::int64_t count = out.size();
  dispatch_floating(out.dtype(), [&]<typename To>() {
    dispatch_floating(x.dtype(), [&]<typename From>() {
      To* to = out.as<To>();
      const From* from = x.as<From>();
#pragma omp parallel for simd if (parallel : count > worth_sharing)
      for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
    });
  });
}

}  // namespace memengine
