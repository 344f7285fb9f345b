// The driver's own copy of a rectangle, on the context's stream; a CUDA graph records it as a node.
#include "kernels/pointwise/copy_columns.h"

#include "kernels/runtime/cuda_check.h"

namespace memengine::cuda {

void copy_columns(const Context& context, Tensor out, std::int64_t out_first, Tensor x,
                  std::int64_t x_first, std::int64_t columns) {
  const std::int64_t width = element_bytes(x.dtype());
  std::byte* to = static_cast<std::byte*>(out.data()) + out_first * width;
  const std::byte* from = static_cast<const std::byte*>(x.data()) + x_first * width;
  MEMENGINE_CUDA_CHECK(cudaMemcpy2DAsync(to, out.dim(1) * width, from, x.dim(1) * width,
                                         columns * width, x.dim(0), cudaMemcpyDeviceToDevice,
                                         context.stream));
}

}  // namespace memengine::cuda
