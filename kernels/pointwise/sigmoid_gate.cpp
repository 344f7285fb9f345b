// The gated memory's gate on the CPU: one sigmoid a token scales its whole row.
//
//     out = s x, s = sigmoid(gate)        dx = s dout        dgate = s (1 - s) sum_c dout_c x_c
#include "kernels/pointwise/sigmoid_gate.h"

#include "kernels/cpu/vector_math.h"
#include "kernels/dispatch.h"

namespace memengine {

void sigmoid_gate_forward(const Context& context, Tensor out, Tensor x, Tensor gate) {
  MEMENGINE_ON_CUDA(context, cuda::sigmoid_gate_forward(context, out, x, gate));
  const std::int64_t rows = gate.size();
  const std::int64_t columns = rows ? x.size() / rows : 0;
  dispatch_floating(x.dtype(), [&]<typename T>() {
    T* y = out.as<T>();
    const T* values = x.as<T>();
    const T* gates = gate.as<T>();
#pragma omp parallel for
    for (std::int64_t n = 0; n < rows; ++n) {
      const T s = sigmoid(gates[n]);
#pragma omp simd
      for (std::int64_t i = n * columns; i < (n + 1) * columns; ++i) y[i] = s * values[i];
    }
  });
}

void sigmoid_gate_backward(const Context& context, Tensor dx, Tensor dgate, Tensor dout, Tensor x,
                           Tensor gate) {
  MEMENGINE_ON_CUDA(context, cuda::sigmoid_gate_backward(context, dx, dgate, dout, x, gate));
  const std::int64_t rows = gate.size();
  const std::int64_t columns = rows ? x.size() / rows : 0;
  dispatch_floating(x.dtype(), [&]<typename T>() {
    T* dvalues = dx.as<T>();
    T* dgates = dgate.as<T>();
    const T* dy = dout.as<T>();
    const T* values = x.as<T>();
    const T* gates = gate.as<T>();
#pragma omp parallel for
    for (std::int64_t n = 0; n < rows; ++n) {
      const T s = sigmoid(gates[n]);
      T dot = 0;
#pragma omp simd reduction(+ : dot)
      for (std::int64_t i = n * columns; i < (n + 1) * columns; ++i) {
        dot += dy[i] * values[i];
        dvalues[i] = s * dy[i];
      }
      dgates[n] = s * (T(1) - s) * dot;
    }
  });
}

}  // namespace memengine
