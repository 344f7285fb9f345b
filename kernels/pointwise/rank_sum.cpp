// Sums over ranks on the CPU.
#include "kernels/pointwise/rank_sum.h"

#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"

namespace memengine {

void add_in_rank_order(const Context& context, Tensor values, Tensor others, int rank) {
  MEMENGINE_ON_CUDA(context, cuda::add_in_rank_order(context, values, others, rank));
  const std::int64_t count = values.size();
  const std::int64_t ranks = others.dim(0) + 1;
  dispatch_floating(values.dtype(), [&]<typename T>() {
    T* own = values.as<T>();
    const T* other = others.as<T>();
    const std::int64_t stride = others.dim(1);
#pragma omp parallel for if (parallel : count > worth_sharing)
    for (std::int64_t i = 0; i < count; ++i) {
      double sum = 0;
      for (std::int64_t r = 0; r < ranks; ++r) {
        sum += r == rank ? own[i] : other[(r < rank ? r : r - 1) * stride + i];
      }
      own[i] = static_cast<T>(sum);
    }
  });
}

}  // namespace memengine
