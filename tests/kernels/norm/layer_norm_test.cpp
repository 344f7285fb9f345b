#include "kernels/norm/layer_norm.h"

#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

constexpr double layer_epsilon = 1e-5;

struct Normalised {
  std::vector<double> out, mean, inverse_std;
};

Normalised reference(const std::vector<double>& x, const std::vector<double>& weight,
                     const std::vector<double>& bias, std::size_t k_dim) {
  Normalised result{std::vector<double>(x.size()), {}, {}};
  for (std::size_t first = 0; first < x.size(); first += k_dim) {
    double mean = 0;
    double variance = 0;
    for (std::size_t k = 0; k < k_dim; ++k) mean += x[first + k] / static_cast<double>(k_dim);
    for (std::size_t k = 0; k < k_dim; ++k) {
      variance += (x[first + k] - mean) * (x[first + k] - mean) / static_cast<double>(k_dim);
    }
    const double inverse_std = 1 / std::sqrt(variance + layer_epsilon);
    for (std::size_t k = 0; k < k_dim; ++k) {
      const std::size_t feature = (first + k) % weight.size();
      result.out[first + k] = (x[first + k] - mean) * inverse_std * weight[feature] + bias[feature];
    }
    result.mean.push_back(mean);
    result.inverse_std.push_back(inverse_std);
  }
  return result;
}

class LayerNorm : public GradientTest {
 protected:
  struct Size {
    std::int64_t tokens, heads, k_dim;
  };
  static constexpr Size sizes[] = {{3, 1, 8}, {3, 2, 19}, {99, 4, 64}, {19, 1, 989}, {989, 3, 6}};
};

TEST_P(LayerNorm, ForwardAndBackward) {
  for (const auto [tokens, heads, k_dim] : sizes) {
    SCOPED_TRACE(testing::Message() << tokens << " x " << heads << " x " << k_dim);
    const auto width = static_cast<std::size_t>(k_dim);
    auto x = normal(tokens * heads * k_dim, 2.0);
    for (double& value : x) value += 1;
    auto dout = normal(tokens * heads * k_dim);
    auto weight = normal(heads * k_dim);
    auto bias = normal(heads * k_dim);
    auto dweight_before = normal(heads * k_dim);
    auto dbias_before = normal(heads * k_dim);
    const Tensor x_tensor = upload(dtype(), {tokens, heads, k_dim}, x);
    const Tensor dout_tensor = upload(dtype(), {tokens, heads, k_dim}, dout);
    const Tensor weight_tensor = upload(accumulator(), {heads, k_dim}, weight);
    const Tensor bias_tensor = upload(accumulator(), {heads, k_dim}, bias);
    const Tensor dweight = upload(accumulator(), {heads, k_dim}, dweight_before);
    const Tensor dbias = upload(accumulator(), {heads, k_dim}, dbias_before);
    const Tensor mean = poisoned(accumulator(), {tokens, heads});
    const Tensor inverse_std = poisoned(accumulator(), {tokens, heads});
    const Tensor out = poisoned(dtype(), {tokens, heads, k_dim});
    reserve_scratch(layer_norm_scratch_bytes(GetParam().device, tokens, heads * k_dim));
    layer_norm_forward(context(), out, mean, inverse_std, x_tensor, weight_tensor, bias_tensor);
    const Normalised expected = reference(x, weight, bias, width);
    expect_close(download(out), expected.out);
    expect_close(download(mean), expected.mean);
    expect_close(download(inverse_std), expected.inverse_std);

    const Tensor dx = poisoned(dtype(), {tokens, heads, k_dim});
    layer_norm_backward(context(), dx, dweight, dbias, dout_tensor, x_tensor, mean, inverse_std,
                        weight_tensor);
    expect_gradient(download(dx), x, [&](const std::vector<double>& at) {
      return inner_product(dout, reference(at, weight, bias, width).out);
    });
    expect_gradient(download(dweight), weight, [&](const std::vector<double>& at) {
      return inner_product(dout, reference(x, at, bias, width).out) +
             inner_product(dweight_before, at);
    });
    expect_gradient(download(dbias), bias, [&](const std::vector<double>& at) {
      return inner_product(dout, reference(x, weight, at, width).out) +
             inner_product(dbias_before, at);
    });

    // In place: the gradient over dout, the output over x.
    layer_norm_backward(context(), dout_tensor, dweight, dbias, dout_tensor, x_tensor, mean,
                        inverse_std, weight_tensor);
    expect_close(download(dout_tensor), download(dx), 0.0);
    layer_norm_forward(context(), x_tensor, mean, inverse_std, x_tensor, weight_tensor,
                       bias_tensor);
    expect_close(download(x_tensor), download(out), 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, LayerNorm, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
