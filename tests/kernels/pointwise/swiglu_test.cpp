#include "kernels/pointwise/swiglu.h"

#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

double silu(double x) {
  return x / (1 + std::exp(-x));
}

std::vector<double> swiglu_of(const std::vector<double>& x, const std::vector<double>& gate) {
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * silu(gate[i]);
  return out;
}

// gate_up [N, 2 F] -> [N, F]
std::vector<double> swiglu(const std::vector<double>& gate_up, std::size_t columns) {
  std::vector<double> out;
  for (std::size_t row = 0; row < gate_up.size(); row += 2 * columns) {
    for (std::size_t c = 0; c < columns; ++c) {
      out.push_back(silu(gate_up[row + c]) * gate_up[row + columns + c]);
    }
  }
  return out;
}

class SwiGlu : public GradientTest {
 protected:
  struct Size {
    std::int64_t rows, columns;
  };
  static constexpr Size sizes[] = {{7, 1}, {3, 19}, {19, 64}, {99, 989}, {989, 8}};
};

TEST_P(SwiGlu, SideBySide) {
  for (const auto [rows, columns] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << columns);
    auto gate_up = normal(rows * 2 * columns, 2.0);
    auto dout = normal(rows * columns);
    const Tensor gate_up_tensor = upload(dtype(), {rows, 2 * columns}, gate_up);
    const Tensor dout_tensor = upload(dtype(), {rows, columns}, dout);
    const Tensor out = poisoned(dtype(), {rows, columns});
    swiglu_forward(context(), out, gate_up_tensor);
    expect_close(download(out), swiglu(gate_up, static_cast<std::size_t>(columns)));

    const Tensor dgate_up = poisoned(dtype(), {rows, 2 * columns});
    swiglu_backward(context(), dgate_up, dout_tensor, gate_up_tensor);
    EXPECT_EQ(download(dout_tensor), download(out)) << "the output does not come back";
    expect_gradient(download(dgate_up), gate_up, [&](const std::vector<double>& at) {
      return inner_product(dout, swiglu(at, static_cast<std::size_t>(columns)));
    });
    swiglu_backward(context(), gate_up_tensor, upload(dtype(), {rows, columns}, dout),
                    gate_up_tensor);
    expect_close(download(gate_up_tensor), download(dgate_up), 0.0);
  }
}

TEST_P(SwiGlu, Apart) {
  for (const auto [rows, columns] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << columns);
    auto x = normal(rows * columns);
    auto gate = normal(rows * columns, 2.0);
    auto dout = normal(rows * columns);
    const Tensor x_tensor = upload(dtype(), {rows, columns}, x);
    const Tensor gate_tensor = upload(dtype(), {rows, columns}, gate);
    const Tensor out = poisoned(dtype(), {rows, columns});
    silu_gate_forward(context(), out, x_tensor, gate_tensor);
    expect_close(download(out), swiglu_of(x, gate));

    const Tensor dx = poisoned(dtype(), {rows, columns});
    const Tensor dgate = poisoned(dtype(), {rows, columns});
    const Tensor dout_tensor = upload(dtype(), {rows, columns}, dout);
    silu_gate_backward(context(), dx, dgate, dout_tensor, x_tensor, gate_tensor);
    expect_gradient(download(dx), x, [&](const std::vector<double>& at) {
      return inner_product(dout, swiglu_of(at, gate));
    });
    expect_gradient(download(dgate), gate, [&](const std::vector<double>& at) {
      return inner_product(dout, swiglu_of(x, at));
    });

    // Either gradient may take the place of dout.
    const Tensor other = poisoned(dtype(), {rows, columns});
    const Tensor as_dx = upload(dtype(), {rows, columns}, dout);
    silu_gate_backward(context(), as_dx, other, as_dx, x_tensor, gate_tensor);
    expect_close(download(as_dx), download(dx), 0.0);
    expect_close(download(other), download(dgate), 0.0);
    silu_gate_backward(context(), other, dout_tensor, dout_tensor, x_tensor, gate_tensor);
    expect_close(download(other), download(dx), 0.0);
    expect_close(download(dout_tensor), download(dgate), 0.0);
  }
}

TEST_P(SwiGlu, SaturatedGatesStayFinite) {
  std::vector<double> gate = {-1000, -100, -88, -30, 0, 30, 88, 100, 1000};
  std::vector<double> ones(gate.size(), 1.0);
  const Tensor gate_tensor = upload(dtype(), {1, 9}, gate);
  const Tensor one_tensor = upload(dtype(), {1, 9}, ones);
  const Tensor out = poisoned(dtype(), {1, 9});
  const Tensor dx = poisoned(dtype(), {1, 9});
  const Tensor dgate = poisoned(dtype(), {1, 9});
  silu_gate_forward(context(), out, one_tensor, gate_tensor);
  silu_gate_backward(context(), dx, dgate, one_tensor, one_tensor, gate_tensor);
  std::vector<double> slope;
  for (const double g : gate) {
    const double s = 1 / (1 + std::exp(-g));
    slope.push_back(s * (1 + g * (1 - s)));
  }
  expect_close(download(out), swiglu_of(ones, gate));
  expect_close(download(dx), swiglu_of(ones, gate));
  expect_close(download(dgate), slope);
}

INSTANTIATE_TEST_SUITE_P(Devices, SwiGlu, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
