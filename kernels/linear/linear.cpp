// y = x W^T + b and its gradients on the CPU: one matrix product each.
//
//     dx = dy W        dW += dy^T x        db += sum over rows of dy
//
// The bias is written to the output first, and the product adds to it. A few rows and many
// have products of their own (cpu_few_rows.h, cpu_product.h).
#include "kernels/linear/linear.h"

#include "kernels/dispatch.h"
#include "kernels/linear/cpu_few_rows.h"
#include "kernels/linear/cpu_product.h"

namespace memengine {
namespace {

struct Shape {
  std::int64_t rows, inputs, outputs;
};

Shape linear_shape(Tensor out, Tensor x, Tensor weight) {
  const Shape shape{x.size() / std::max<std::int64_t>(weight.dim(1), 1), weight.dim(1),
                    weight.dim(0)};
  if (shape.rows * shape.inputs != x.size() || shape.rows * shape.outputs != out.size()) {
    fail_internal("linear: x {} times weight {} does not give {}", x.shape_text(),
                  weight.shape_text(), out.shape_text());
  }
  return shape;
}

template <typename T, typename B>
void fill_rows(T* out, const B* bias, std::int64_t rows, std::int64_t outputs) {
#pragma omp parallel for
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t o = 0; o < outputs; ++o) out[row * outputs + o] = static_cast<T>(bias[o]);
  }
}

}  // namespace

void linear_forward(const Context& context, Tensor out, Tensor x, Tensor weight, Tensor bias) {
  MEMENGINE_ON_CUDA(context, cuda::linear_forward(context, out, x, weight, bias));
  const Shape shape = linear_shape(out, x, weight);
  const std::int64_t rows = shape.rows, inputs = shape.inputs, outputs = shape.outputs;
  dispatch_floating(x.dtype(), [&]<typename T>() {
    if (rows <= cpu_few_rows) {
      if (bias.empty()) {
        few_rows_product<T, T>(out.as<T>(), x.as<T>(), weight.as<T>(), nullptr, rows, inputs,
                               outputs);
      } else {
        dispatch_floating(bias.dtype(), [&]<typename B>() {
          few_rows_product(out.as<T>(), x.as<T>(), weight.as<T>(), bias.as<B>(), rows, inputs,
                           outputs);
        });
      }
      return;
    }
    if (!bias.empty()) {
      dispatch_floating(bias.dtype(),
                        [&]<typename B>() { fill_rows(out.as<T>(), bias.as<B>(), rows, outputs); });
    }
    many_rows_product(Transpose::no, Transpose::yes, rows, outputs, inputs, x.as<T>(), inputs,
                      weight.as<T>(), inputs, !bias.empty(), out.as<T>(), outputs);
  });
}

void linear_backward_input(const Context& context, Tensor dx, Tensor dout, Tensor weight,
                           bool accumulate) {
  MEMENGINE_ON_CUDA(context, cuda::linear_backward_input(context, dx, dout, weight, accumulate));
  const Shape shape = linear_shape(dout, dx, weight);
  const std::int64_t rows = shape.rows, inputs = shape.inputs, outputs = shape.outputs;
  dispatch_floating(dx.dtype(), [&]<typename T>() {
    many_rows_product(Transpose::no, Transpose::no, rows, inputs, outputs, dout.as<T>(), outputs,
                      weight.as<T>(), inputs, accumulate, dx.as<T>(), inputs);
  });
}

void linear_backward_weight(const Context& context, Tensor dweight, Tensor dbias, Tensor dout,
                            Tensor x, bool accumulate) {
  MEMENGINE_ON_CUDA(context,
                    cuda::linear_backward_weight(context, dweight, dbias, dout, x, accumulate));
  const Shape shape = linear_shape(dout, x, dweight);
  const std::int64_t rows = shape.rows, inputs = shape.inputs, outputs = shape.outputs;
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const T* gradient = dout.as<T>();
    many_rows_product(Transpose::yes, Transpose::no, outputs, inputs, rows, gradient, outputs,
                      x.as<T>(), inputs, accumulate, dweight.as<T>(), inputs);
    if (dbias.empty()) return;
    T* sums = dbias.as<T>();
    // Each thread owns a share of the columns, so the order of a sum is the order of the rows.
#pragma omp parallel
    {
      const ThreadShare columns = thread_share(outputs, 16);
      for (std::int64_t row = 0; row < rows; ++row) {
        for (std::int64_t o = columns.first; o < columns.last; ++o) {
          sums[o] += gradient[row * outputs + o];
        }
      }
    }
  });
}

std::int64_t linear_scratch_bytes(Device device, std::int64_t rows, std::int64_t outputs) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::linear_scratch_bytes(rows, outputs);
  }
  return 0;
}

}  // namespace memengine
