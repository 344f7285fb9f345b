#include "kernels/norm/rms_norm.h"

#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

constexpr double rms_epsilon = 1e-5;

class RmsNorm : public GradientTest {
 protected:
  struct Size {
    std::int64_t rows, channels;
  };
  static constexpr Size sizes[] = {{1, 5}, {3, 19}, {99, 64}, {19, 989}, {989, 99}, {2, 4096}};
};

std::vector<double> reference(const std::vector<double>& x, const std::vector<double>& weight) {
  const std::size_t channels = weight.size();
  std::vector<double> out(x.size());
  for (std::size_t first = 0; first < x.size(); first += channels) {
    double squares = 0;
    for (std::size_t c = 0; c < channels; ++c) squares += x[first + c] * x[first + c];
    const double rms = std::sqrt(squares / static_cast<double>(channels) + rms_epsilon);
    for (std::size_t c = 0; c < channels; ++c) out[first + c] = x[first + c] / rms * weight[c];
  }
  return out;
}

TEST_P(RmsNorm, ForwardAddsTheBranch) {
  for (const auto [rows, channels] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << channels);
    auto x = normal(rows * channels, 3.0);
    auto branch = normal(rows * channels);
    auto weight = normal(channels);
    const Tensor x_tensor = upload(dtype(), {rows, channels}, x);
    const Tensor branch_tensor = upload(dtype(), {rows, channels}, branch);
    const Tensor weight_tensor = upload(dtype(), {channels}, weight);
    const Tensor inverse_rms = poisoned(accumulator(), {rows});
    const Tensor out = poisoned(dtype(), {rows, channels});
    rms_norm_forward(context(), out, Tensor(), inverse_rms, x_tensor, Tensor(), weight_tensor,
                     rms_epsilon);
    expect_close(download(out), reference(x, weight));
    expect_close(download(x_tensor), x, 0.0);

    const Tensor sum = poisoned(dtype(), {rows, channels});
    for (const Tensor& target : {sum, x_tensor}) {  // apart, then in place
      const Tensor normed = poisoned(dtype(), {rows, channels});
      rms_norm_forward(context(), normed, target, inverse_rms, x_tensor, branch_tensor,
                       weight_tensor, rms_epsilon);
      expect_close(download(target), sum_of(x, branch));
      expect_close(download(normed), reference(sum_of(x, branch), weight));
    }
  }
}

TEST_P(RmsNorm, Backward) {
  for (const auto [rows, channels] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << channels);
    auto x = normal(rows * channels, 3.0);
    auto dout = normal(rows * channels);
    auto residual = normal(rows * channels);
    auto weight = normal(channels);
    auto before = normal(channels);
    const Tensor x_tensor = upload(dtype(), {rows, channels}, x);
    const Tensor dout_tensor = upload(dtype(), {rows, channels}, dout);
    const Tensor residual_tensor = upload(dtype(), {rows, channels}, residual);
    const Tensor weight_tensor = upload(dtype(), {channels}, weight);
    const Tensor dweight = upload(accumulator(), {channels}, before);
    const Tensor inverse_rms = poisoned(accumulator(), {rows});
    reserve_scratch(rms_norm_scratch_bytes(GetParam().device, rows, channels));
    rms_norm_forward(context(), poisoned(dtype(), {rows, channels}), Tensor(), inverse_rms,
                     x_tensor, Tensor(), weight_tensor, rms_epsilon);

    const Tensor dx = poisoned(dtype(), {rows, channels});
    rms_norm_backward(context(), dx, dweight, dout_tensor, Tensor(), x_tensor, inverse_rms,
                      weight_tensor);
    const auto loss_of_x = [&](const std::vector<double>& at) {
      return inner_product(dout, reference(at, weight));
    };
    expect_gradient(download(dx), x, loss_of_x);
    expect_gradient(download(dweight), weight, [&](const std::vector<double>& at) {
      return inner_product(dout, reference(x, at)) + inner_product(before, at);
    });

    // The residual's gradient is added; in place gives the same as apart.
    const Tensor apart = poisoned(dtype(), {rows, channels});
    rms_norm_backward(context(), apart, dweight, dout_tensor, residual_tensor, x_tensor,
                      inverse_rms, weight_tensor);
    expect_gradient(download(apart), x, [&](const std::vector<double>& at) {
      return loss_of_x(at) + inner_product(residual, at);
    });
    rms_norm_backward(context(), residual_tensor, dweight, dout_tensor, residual_tensor, x_tensor,
                      inverse_rms, weight_tensor);
    expect_close(download(residual_tensor), download(apart), 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, RmsNorm, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
