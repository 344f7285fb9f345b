// SwiGLU's gate on the CPU, in its two layouts: gate and up side by side in one row, or apart.
//
//     out = up * silu(gate)          silu(g)  = g sigmoid(g)
//     dup = dout silu(gate)          silu'(g) = sigmoid(g) (1 + g (1 - sigmoid(g)))
//     dgate = dout up silu'(gate)
//
// Both layouts are the same loop over rows; only the distance between rows differs.
#include "kernels/pointwise/swiglu.h"

#include "kernels/cpu/rows.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/dispatch.h"

namespace memengine {
namespace {

template <typename T>
void forward(T* out, const T* up, const T* gate, std::int64_t rows, std::int64_t columns,
             std::int64_t stride) {
#pragma omp parallel for if (rows * columns > worth_sharing)
  for (std::int64_t n = 0; n < rows; ++n) {
    T* y = out + n * columns;
    const T* u = up + n * stride;
    const T* g = gate + n * stride;
#pragma omp simd
    for (std::int64_t c = 0; c < columns; ++c) y[c] = u[c] * g[c] * sigmoid(g[c]);
  }
}

// Element c is read from all inputs before any output of it is written, so they may be one memory.
// restore: dout becomes the forward pass's output.
template <bool restore, typename T, typename Dout>
void backward(T* dup, T* dgate, Dout* dout, const T* up, const T* gate, std::int64_t rows,
              std::int64_t columns, std::int64_t stride) {
#pragma omp parallel for if (rows * columns > worth_sharing)
  for (std::int64_t n = 0; n < rows; ++n) {
    T* du = dup + n * stride;
    T* dg = dgate + n * stride;
    Dout* dy = dout + n * columns;
    const T* u = up + n * stride;
    const T* g = gate + n * stride;
#pragma omp simd
    for (std::int64_t c = 0; c < columns; ++c) {
      const T s = sigmoid(g[c]);
      const T to_up = dy[c] * g[c] * s;
      const T to_gate = dy[c] * u[c] * s * (T(1) + g[c] * (T(1) - s));
      if constexpr (restore) dy[c] = u[c] * g[c] * s;
      du[c] = to_up;
      dg[c] = to_gate;
    }
  }
}

}  // namespace

void swiglu_forward(const Context& context, Tensor out, Tensor gate_up) {
  MEMENGINE_ON_CUDA(context, cuda::swiglu_forward(context, out, gate_up));
  const std::int64_t columns = gate_up.dim(gate_up.rank() - 1) / 2;
  const std::int64_t rows = gate_up.size() / (2 * columns);
  dispatch_floating(out.dtype(), [&]<typename T>() {
    const T* gate = gate_up.as<T>();
    forward(out.as<T>(), gate + columns, gate, rows, columns, 2 * columns);
  });
}

void swiglu_backward(const Context& context, Tensor dgate_up, Tensor out, Tensor gate_up) {
  MEMENGINE_ON_CUDA(context, cuda::swiglu_backward(context, dgate_up, out, gate_up));
  const std::int64_t columns = gate_up.dim(gate_up.rank() - 1) / 2;
  const std::int64_t rows = gate_up.size() / (2 * columns);
  dispatch_floating(out.dtype(), [&]<typename T>() {
    const T* gate = gate_up.as<T>();
    T* dgate = dgate_up.as<T>();
    backward<true>(dgate + columns, dgate, out.as<T>(), gate + columns, gate, rows, columns,
                   2 * columns);
  });
}

void silu_gate_forward(const Context& context, Tensor out, Tensor x, Tensor gate) {
  MEMENGINE_ON_CUDA(context, cuda::silu_gate_forward(context, out, x, gate));
  const std::int64_t columns = x.dim(x.rank() - 1);
  dispatch_floating(out.dtype(), [&]<typename T>() {
    forward(out.as<T>(), x.as<T>(), gate.as<T>(), x.size() / columns, columns, columns);
  });
}

void silu_gate_backward(const Context& context, Tensor dx, Tensor dgate, Tensor dout, Tensor x,
                        Tensor gate) {
  MEMENGINE_ON_CUDA(context, cuda::silu_gate_backward(context, dx, dgate, dout, x, gate));
  const std::int64_t columns = x.dim(x.rank() - 1);
  dispatch_floating(dout.dtype(), [&]<typename T>() {
    backward<false>(dx.as<T>(), dgate.as<T>(), dout.as<const T>(), x.as<T>(), gate.as<T>(),
                    x.size() / columns, columns, columns);
  });
}

}  // namespace memengine
