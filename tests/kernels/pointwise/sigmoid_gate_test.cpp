#include "kernels/pointwise/sigmoid_gate.h"

#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

std::vector<double> gated(std::vector<double> x, const std::vector<double>& gate) {
  const std::size_t columns = x.size() / gate.size();
  for (std::size_t i = 0; i < x.size(); ++i) x[i] /= 1 + std::exp(-gate[i / columns]);
  return x;
}

class SigmoidGate : public GradientTest {
 protected:
  struct Size {
    std::int64_t rows, columns;
  };
  static constexpr Size sizes[] = {{7, 1}, {3, 19}, {99, 64}, {19, 989}, {989, 7}};
};

TEST_P(SigmoidGate, ForwardAndBackward) {
  for (const auto [rows, columns] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << columns);
    auto x = normal(rows * columns);
    auto gate = normal(rows, 2.0);
    auto dout = normal(rows * columns);
    const Tensor x_tensor = upload(dtype(), {rows, columns}, x);
    const Tensor gate_tensor = upload(dtype(), {rows, 1}, gate);
    const Tensor dout_tensor = upload(dtype(), {rows, columns}, dout);
    const Tensor out = poisoned(dtype(), {rows, columns});
    sigmoid_gate_forward(context(), out, x_tensor, gate_tensor);
    expect_close(download(out), gated(x, gate));

    const Tensor dx = poisoned(dtype(), {rows, columns});
    const Tensor dgate = poisoned(dtype(), {rows, 1});
    sigmoid_gate_backward(context(), dx, dgate, dout_tensor, x_tensor, gate_tensor);
    expect_gradient(download(dx), x, [&](const std::vector<double>& at) {
      return inner_product(dout, gated(at, gate));
    });
    expect_gradient(download(dgate), gate, [&](const std::vector<double>& at) {
      return inner_product(dout, gated(x, at));
    });

    const Tensor other = poisoned(dtype(), {rows, 1});
    sigmoid_gate_backward(context(), dout_tensor, other, dout_tensor, x_tensor, gate_tensor);
    expect_close(download(dout_tensor), download(dx), 0.0);
    expect_close(download(other), download(dgate), 0.0);
    sigmoid_gate_forward(context(), x_tensor, x_tensor, gate_tensor);
    expect_close(download(x_tensor), download(out), 0.0);
  }
}

TEST_P(SigmoidGate, SaturatedGatesStayFinite) {
  std::vector<double> gate = {-1000, -100, 0, 100, 1000};
  std::vector<double> ones(5, 1.0);
  const Tensor gate_tensor = upload(dtype(), {5, 1}, gate);
  const Tensor one_tensor = upload(dtype(), {5, 1}, ones);
  const Tensor out = poisoned(dtype(), {5, 1});
  const Tensor dgate = poisoned(dtype(), {5, 1});
  sigmoid_gate_forward(context(), out, one_tensor, gate_tensor);
  expect_close(download(out), gated(ones, gate));
  sigmoid_gate_backward(context(), out, dgate, one_tensor, one_tensor, gate_tensor);
  expect_close(download(dgate), {0, 0, 0.25, 0, 0});
}

INSTANTIATE_TEST_SUITE_P(Devices, SigmoidGate, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
