// SwiGLU's gate on CUDA, element by element: bound by memory, 16 bytes per thread and access.
//
// With s = sigmoid(gate):  silu = gate s,  d silu / d gate = s (1 + gate (1 - s)).
// The backward kernels read an element before the same thread writes it, so they may work in place.
#include "kernels/pointwise/swiglu.h"

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int swiglu_threads = 256;

// To the last bits that T keeps.
template <typename T>
__device__ __forceinline__ float sigmoid(float x) {
  return 1.0F / (1.0F + (sizeof(T) == 4 ? expf(-x) : __expf(-x)));
}

template <typename T>
__device__ __forceinline__ float silu(float gate) {
  return gate * sigmoid<T>(gate);
}

// dgate and dup from dout.
template <typename T>
__device__ __forceinline__ void silu_gradient(float dout, float gate, float up, float* dgate,
                                              float* dup) {
  const float s = sigmoid<T>(gate);
  *dup = dout * gate * s;
  *dgate = dout * up * s * (1.0F + gate * (1.0F - s));
}

// out[n, f] = silu(gate[n, f]) * up[n, f]; rows of gate and up stand `stride` apart, those of out
// `features`. A thread does one piece of a row: x of the grid and y of the block run over rows, y
// of the grid and x of the block over pieces.
template <typename T, int width>
__global__ void __launch_bounds__(swiglu_threads)
    forward_kernel(T* out, const T* gate, const T* up, std::int64_t stride, std::int64_t rows,
                   int features) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int column = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * width;
  if (row >= rows || column >= features) return;
  const std::int64_t place = row * stride + column;
  float g[width];
  float u[width];
  load(gate + place, g);
  load(up + place, u);
#pragma unroll
  for (int i = 0; i < width; ++i) u[i] *= silu<T>(g[i]);
  store(out + row * features + column, u);
}

// dgate, dup, gate and up have rows `stride` apart, dout `features`. restore: dout becomes the
// forward pass's output.
template <typename T, int width, bool restore>
__global__ void __launch_bounds__(swiglu_threads)
    backward_kernel(T* dgate, T* dup, T* dout, const T* gate, const T* up, std::int64_t stride,
                    std::int64_t rows, int features) {
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const int column = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * width;
  if (row >= rows || column >= features) return;
  const std::int64_t place = row * stride + column;
  float d[width];
  float g[width];
  float u[width];
  load(dout + row * features + column, d);
  load(gate + place, g);
  load(up + place, u);
#pragma unroll
  for (int i = 0; i < width; ++i) {
    const float gate_i = g[i];
    const float up_i = u[i];
    silu_gradient<T>(d[i], gate_i, up_i, &g[i], &u[i]);
    if constexpr (restore) d[i] = up_i * silu<T>(gate_i);
  }
  if constexpr (restore) store(dout + row * features + column, d);
  store(dgate + place, g);
  store(dup + place, u);
}

// Calls launch.template operator()<width>(grid, block) for rows of `features` elements.
template <typename T, typename Launch>
void over_rows(std::int64_t rows, std::int64_t features, bool vectors, Launch&& launch) {
  if (rows == 0 || features == 0) return;
  const auto with_width = [&]<int width>() {
    const std::int64_t pieces = ceil_divide(features, width);
    const std::int64_t blocks = ceil_divide(pieces, swiglu_threads);
    // Even shares, whole warps: 352 pieces are two blocks of 192 threads, not 256 and 96.
    const std::int64_t across = ceil_divide(ceil_divide(pieces, blocks), warp_size) * warp_size;
    const std::int64_t down = swiglu_threads / across;
    launch.template operator()<width>(
        dim3(grid_size(ceil_divide(rows, down)), static_cast<unsigned>(blocks)),
        dim3(static_cast<unsigned>(across), static_cast<unsigned>(down)));
  };
  if (vectors)
    with_width.template operator()<vector_width<T>>();
  else
    with_width.template operator()<1>();
}

}  // namespace

void swiglu_forward(const Context& context, Tensor out, Tensor gate_up) {
  const std::int64_t features = gate_up.dim(gate_up.rank() - 1) / 2;
  const std::int64_t rows = gate_up.size() / (2 * features);
  dispatch_storage("swiglu_forward", out.dtype(), [&]<typename T>() {
    const T* gate = gate_up.as<T>();
    const bool vectors = in_vectors<T>(features, {out.data(), gate});
    over_rows<T>(rows, features, vectors, [&]<int width>(dim3 grid, dim3 block) {
      forward_kernel<T, width><<<grid, block, 0, context.stream>>>(
          out.as<T>(), gate, gate + features, 2 * features, rows, static_cast<int>(features));
    });
  });
  MEMENGINE_LAUNCH_CHECK("swiglu_forward");
}

void swiglu_backward(const Context& context, Tensor dgate_up, Tensor out, Tensor gate_up) {
  const std::int64_t features = gate_up.dim(gate_up.rank() - 1) / 2;
  const std::int64_t rows = gate_up.size() / (2 * features);
  dispatch_storage("swiglu_backward", out.dtype(), [&]<typename T>() {
    T* dgate = dgate_up.as<T>();
    const T* gate = gate_up.as<T>();
    const bool vectors = in_vectors<T>(features, {out.data(), dgate, gate});
    over_rows<T>(rows, features, vectors, [&]<int width>(dim3 grid, dim3 block) {
      backward_kernel<T, width, true><<<grid, block, 0, context.stream>>>(
          dgate, dgate + features, out.as<T>(), gate, gate + features, 2 * features, rows,
          static_cast<int>(features));
    });
  });
  MEMENGINE_LAUNCH_CHECK("swiglu_backward");
}

void silu_gate_forward(const Context& context, Tensor out, Tensor x, Tensor gate) {
  const std::int64_t features = x.dim(x.rank() - 1);
  const std::int64_t rows = x.size() / features;
  dispatch_storage("silu_gate_forward", out.dtype(), [&]<typename T>() {
    const bool vectors = in_vectors<T>(features, {out.data(), x.data(), gate.data()});
    over_rows<T>(rows, features, vectors, [&]<int width>(dim3 grid, dim3 block) {
      forward_kernel<T, width><<<grid, block, 0, context.stream>>>(
          out.as<T>(), gate.as<T>(), x.as<T>(), features, rows, static_cast<int>(features));
    });
  });
  MEMENGINE_LAUNCH_CHECK("silu_gate_forward");
}

void silu_gate_backward(const Context& context, Tensor dx, Tensor dgate, Tensor dout, Tensor x,
                        Tensor gate) {
  const std::int64_t features = x.dim(x.rank() - 1);
  const std::int64_t rows = x.size() / features;
  dispatch_storage("silu_gate_backward", dout.dtype(), [&]<typename T>() {
    const bool vectors =
        in_vectors<T>(features, {dx.data(), dgate.data(), dout.data(), x.data(), gate.data()});
    over_rows<T>(rows, features, vectors, [&]<int width>(dim3 grid, dim3 block) {
      backward_kernel<T, width, false><<<grid, block, 0, context.stream>>>(
          dgate.as<T>(), dx.as<T>(), dout.as<T>(), gate.as<T>(), x.as<T>(), features, rows,
          static_cast<int>(features));
    });
  });
  MEMENGINE_LAUNCH_CHECK("silu_gate_backward");
}

}  // namespace memengine::cuda
