// The gated memory's gate on CUDA: one warp per token. With s = sigmoid(gate):
//     out = s x;    dx = s dout,   dgate = s (1 - s) <dout, x>
#include "kernels/pointwise/sigmoid_gate.h"

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int gate_warps = 8;

__device__ __forceinline__ float sigmoid(float x) {
  return 1.0F / (1.0F + __expf(-x));
}

template <typename T>
__device__ __forceinline__ float load_one(const T* address) {
  float x[1];
  load(address, x);
  return x[0];
}

template <typename T, int width>
__global__ void __launch_bounds__(warp_size* gate_warps)
    forward_kernel(T* out, const T* x, const T* gate, std::int64_t rows, int channels) {
  const std::int64_t row = std::int64_t{blockIdx.x} * gate_warps + threadIdx.y;
  if (row >= rows) return;
  const float s = sigmoid(load_one(gate + row));
  for (int column = static_cast<int>(threadIdx.x) * width; column < channels;
       column += warp_size * width) {
    float values[width];
    load(x + row * channels + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) values[i] *= s;
    store(out + row * channels + column, values);
  }
}

// dx may be dout: an element is read and written by the same thread, in this order.
template <typename T, int width>
__global__ void __launch_bounds__(warp_size* gate_warps)
    backward_kernel(T* dx, T* dgate, const T* dout, const T* x, const T* gate, std::int64_t rows,
                    int channels) {
  const std::int64_t row = std::int64_t{blockIdx.x} * gate_warps + threadIdx.y;
  if (row >= rows) return;  // a whole warp
  const float s = sigmoid(load_one(gate + row));
  float dot = 0;
  for (int column = static_cast<int>(threadIdx.x) * width; column < channels;
       column += warp_size * width) {
    float values[width];
    float gradient[width];
    load(x + row * channels + column, values);
    load(dout + row * channels + column, gradient);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      dot += gradient[i] * values[i];
      gradient[i] *= s;
    }
    store(dx + row * channels + column, gradient);
  }
  dot = warp_sum(dot);
  if (threadIdx.x == 0) {
    const float gradient[1] = {dot * s * (1.0F - s)};
    store(dgate + row, gradient);
  }
}

}  // namespace

void sigmoid_gate_forward(const Context& context, Tensor out, Tensor x, Tensor gate) {
  const std::int64_t rows = gate.size();
  if (rows == 0) return;
  const std::int64_t channels = x.size() / rows;
  dispatch_storage("sigmoid_gate_forward", x.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width>() {
      forward_kernel<T, width><<<grid_size(ceil_divide(rows, gate_warps)),
                                 dim3(warp_size, gate_warps), 0, context.stream>>>(
          out.as<T>(), x.as<T>(), gate.as<T>(), rows, static_cast<int>(channels));
    };
    if (in_vectors<T>(channels, {out.data(), x.data()}))
      launch.template operator()<vector_width<T>>();
    else
      launch.template operator()<1>();
  });
  MEMENGINE_LAUNCH_CHECK("sigmoid_gate_forward");
}

void sigmoid_gate_backward(const Context& context, Tensor dx, Tensor dgate, Tensor dout, Tensor x,
                           Tensor gate) {
  const std::int64_t rows = gate.size();
  if (rows == 0) return;
  const std::int64_t channels = x.size() / rows;
  dispatch_storage("sigmoid_gate_backward", x.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width>() {
      backward_kernel<T, width>
          <<<grid_size(ceil_divide(rows, gate_warps)), dim3(warp_size, gate_warps), 0,
             context.stream>>>(dx.as<T>(), dgate.as<T>(), dout.as<T>(), x.as<T>(), gate.as<T>(),
                               rows, static_cast<int>(channels));
    };
    if (in_vectors<T>(channels, {dx.data(), dout.data(), x.data()}))
      launch.template operator()<vector_width<T>>();
    else
      launch.template operator()<1>();
  });
  MEMENGINE_LAUNCH_CHECK("sigmoid_gate_backward");
}

}  // namespace memengine::cuda
