// Small element-wise ops. Bound by memory: 16 bytes per thread and access, and a thread handles one
// piece, so that thousands of loads are in flight.
#include "kernels/pointwise/elementwise.h"

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int element_threads = 256;

template <typename T, int width>
__global__ void __launch_bounds__(element_threads)
    add_kernel(T* out, const T* a, const T* b, std::int64_t size) {
  const std::int64_t i =
      (static_cast<std::int64_t>(blockIdx.x) * element_threads + threadIdx.x) * width;
  if (i >= size) return;
  float x[width];
  float y[width];
  load(a + i, x);
  load(b + i, y);
#pragma unroll
  for (int j = 0; j < width; ++j) x[j] += y[j];
  store(out + i, x);
}

template <typename To, typename From, int width>
__global__ void __launch_bounds__(element_threads)
    cast_kernel(To* out, const From* x, std::int64_t size) {
  const std::int64_t i =
      (static_cast<std::int64_t>(blockIdx.x) * element_threads + threadIdx.x) * width;
  if (i >= size) return;
  float values[width];
  load(x + i, values);
  store(out + i, values);
}

template <typename To, typename From>
void launch_cast(const Context& context, Tensor out, Tensor x) {
  const std::int64_t size = x.size();
  // Eight elements per thread: 16 bytes of BF16, 32 of FP32.
  const auto launch = [&]<int width>() {
    const unsigned blocks = grid_size(ceil_divide(size, std::int64_t{element_threads} * width));
    cast_kernel<To, From, width>
        <<<blocks, element_threads, 0, context.stream>>>(out.as<To>(), x.as<From>(), size);
  };
  if (in_vectors<bfloat16>(size, {out.data(), x.data()}))
    launch.template operator()<8>();
  else
    launch.template operator()<1>();
  MEMENGINE_LAUNCH_CHECK("cast");
}

}  // namespace

void add(const Context& context, Tensor out, Tensor a, Tensor b) {
  const std::int64_t size = out.size();
  if (size == 0) return;
  dispatch_storage("add", out.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width>() {
      const unsigned blocks = grid_size(ceil_divide(size, std::int64_t{element_threads} * width));
      add_kernel<T, width>
          <<<blocks, element_threads, 0, context.stream>>>(out.as<T>(), a.as<T>(), b.as<T>(), size);
    };
    if (in_vectors<T>(size, {out.data(), a.data(), b.data()}))
      launch.template operator()<vector_width<T>>();
    else
      launch.template operator()<1>();
    MEMENGINE_LAUNCH_CHECK("add");
  });
}

void cast(const Context& context, Tensor out, Tensor x) {
  if (x.size() == 0) return;
  dispatch_storage("cast", out.dtype(), [&]<typename To>() {
    dispatch_storage("cast", x.dtype(),
                     [&]<typename From>() { launch_cast<To, From>(context, out, x); });
  });
}

}  // namespace memengine::cuda
