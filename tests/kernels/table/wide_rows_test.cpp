// Ops on rows from a few elements to tens of thousands, and on enough rows for several blocks: the
// CUDA kernels spread rows over threads in a different way for each range of lengths, and every way
// is visited here. The reference is the CPU op in double, so there is nothing to run on the CPU.
#include <cstdint>
#include <vector>

#include "kernels/cross_entropy.h"
#include "kernels/linear/linear.h"
#include "kernels/norm/batch_norm.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/norm/rms_norm.h"
#include "tests/support/op_test.h"

namespace memengine {
namespace {

class WideRows : public OpTest {
 protected:
  WideRows() : reference_(Device::cpu) { reference_.reserve_scratch(std::int64_t{64} << 20); }

  void SetUp() override {
    if (GetParam().device == Device::cpu) GTEST_SKIP() << "compares a GPU with the CPU";
  }

  Context& reference() { return reference_.context(); }

  // The vector's own memory as a tensor for the reference.
  static Tensor view(std::vector<double>& values, std::initializer_list<std::int64_t> shape) {
    return Tensor(values.data(), DType::f64, shape);
  }
  static std::vector<double> blank(std::int64_t count) {
    return std::vector<double>(static_cast<std::size_t>(count), NAN);
  }

  static constexpr std::int64_t lengths[] = {8,    128,  133,  256,  260,   512,  1024,
                                             1028, 2048, 4097, 8192, 12000, 16384};

 private:
  Runtime reference_;
};

TEST_P(WideRows, RmsNorm) {
  for (const std::int64_t channels : lengths) {
    if (channels > 8192 && channels % 8 != 0) continue;
    SCOPED_TRACE(testing::Message() << channels << " channels");
    const bool several_rows_a_team = channels == 8 || channels == 1024 || channels == 1028;
    const std::int64_t rows = channels == 8 ? 5003 : several_rows_a_team ? 1201 : 37;
    const std::int64_t size = rows * channels;
    auto x = normal(size), branch = normal(size), dout = normal(size), residual = normal(size);
    auto weight = normal(channels), dweight = normal(channels);
    const Tensor x_device = upload(dtype(), {rows, channels}, x);
    const Tensor branch_device = upload(dtype(), {rows, channels}, branch);
    const Tensor dout_device = upload(dtype(), {rows, channels}, dout);
    const Tensor residual_device = upload(dtype(), {rows, channels}, residual);
    const Tensor weight_device = upload(dtype(), {channels}, weight);
    const Tensor dweight_device = upload(accumulator(), {channels}, dweight);
    const Tensor out_device = poisoned(dtype(), {rows, channels});
    const Tensor scale_device = poisoned(accumulator(), {rows});
    reserve_scratch(rms_norm_scratch_bytes(GetParam().device, rows, channels));
    rms_norm_forward(context(), out_device, x_device, scale_device, x_device, branch_device,
                     weight_device, 1e-5);
    rms_norm_backward(context(), residual_device, dweight_device, dout_device, residual_device,
                      x_device, scale_device, weight_device);

    auto out = blank(size), scale = blank(rows);
    rms_norm_forward(reference(), view(out, {rows, channels}), view(x, {rows, channels}),
                     view(scale, {rows}), view(x, {rows, channels}), view(branch, {rows, channels}),
                     view(weight, {channels}), 1e-5);
    rms_norm_backward(reference(), view(residual, {rows, channels}), view(dweight, {channels}),
                      view(dout, {rows, channels}), view(residual, {rows, channels}),
                      view(x, {rows, channels}), view(scale, {rows}), view(weight, {channels}));
    expect_close(download(x_device), x);
    expect_close(download(out_device), out);
    expect_close(download(scale_device), scale);
    expect_close(download(residual_device), residual);
    expect_close(download(dweight_device), dweight);
  }
}

TEST_P(WideRows, LayerNorm) {
  constexpr std::int64_t tokens = 37, heads = 3;
  for (const std::int64_t k_dim : lengths) {
    if (k_dim > 4097) continue;
    SCOPED_TRACE(testing::Message() << "k_dim " << k_dim);
    const std::int64_t rows = tokens * heads, size = rows * k_dim, features = heads * k_dim;
    auto x = normal(size), dout = normal(size), weight = normal(features), bias = normal(features);
    auto dweight = normal(features), dbias = normal(features);
    const Tensor x_device = upload(dtype(), {tokens, heads, k_dim}, x);
    const Tensor dout_device = upload(dtype(), {tokens, heads, k_dim}, dout);
    const Tensor weight_device = upload(accumulator(), {heads, k_dim}, weight);
    const Tensor bias_device = upload(accumulator(), {heads, k_dim}, bias);
    const Tensor dweight_device = upload(accumulator(), {heads, k_dim}, dweight);
    const Tensor dbias_device = upload(accumulator(), {heads, k_dim}, dbias);
    const Tensor out_device = poisoned(dtype(), {tokens, heads, k_dim});
    const Tensor mean_device = poisoned(accumulator(), {tokens, heads});
    const Tensor scale_device = poisoned(accumulator(), {tokens, heads});
    reserve_scratch(layer_norm_scratch_bytes(GetParam().device, tokens, features));
    layer_norm_forward(context(), out_device, mean_device, scale_device, x_device, weight_device,
                       bias_device);
    layer_norm_backward(context(), dout_device, dweight_device, dbias_device, dout_device, x_device,
                        mean_device, scale_device, weight_device);

    auto out = blank(size), mean = blank(rows), scale = blank(rows);
    layer_norm_forward(reference(), view(out, {tokens, heads, k_dim}), view(mean, {tokens, heads}),
                       view(scale, {tokens, heads}), view(x, {tokens, heads, k_dim}),
                       view(weight, {heads, k_dim}), view(bias, {heads, k_dim}));
    layer_norm_backward(reference(), view(dout, {tokens, heads, k_dim}),
                        view(dweight, {heads, k_dim}), view(dbias, {heads, k_dim}),
                        view(dout, {tokens, heads, k_dim}), view(x, {tokens, heads, k_dim}),
                        view(mean, {tokens, heads}), view(scale, {tokens, heads}),
                        view(weight, {heads, k_dim}));
    expect_close(download(out_device), out);
    expect_close(download(dout_device), dout);
    expect_close(download(dweight_device), dweight);
    expect_close(download(dbias_device), dbias);
  }
}

TEST_P(WideRows, BatchNorm) {
  constexpr std::int64_t rows = 1061;
  for (const std::int64_t features : {24, 264, 515}) {
    SCOPED_TRACE(testing::Message() << features << " features");
    const std::int64_t size = rows * features;
    auto x = normal(size), dout = normal(size), weight = normal(features), bias = normal(features);
    auto dweight = normal(features), dbias = normal(features);
    for (double& value : x) value = value * 0.5 + 20;  // a mean that plain sums of squares dislike
    std::vector<double> running_mean(weight.size(), 0.0), running_variance(weight.size(), 1.0);
    const Tensor x_device = upload(dtype(), {rows, features}, x);
    const Tensor dout_device = upload(dtype(), {rows, features}, dout);
    const Tensor weight_device = upload(accumulator(), {features}, weight);
    const Tensor bias_device = upload(accumulator(), {features}, bias);
    const Tensor dweight_device = upload(accumulator(), {features}, dweight);
    const Tensor dbias_device = upload(accumulator(), {features}, dbias);
    const Tensor running_mean_device = upload(accumulator(), {features}, running_mean);
    const Tensor running_variance_device = upload(accumulator(), {features}, running_variance);
    const Tensor out_device = poisoned(dtype(), {rows, features});
    const Tensor mean_device = poisoned(accumulator(), {features});
    const Tensor scale_device = poisoned(accumulator(), {features});
    reserve_scratch(batch_norm_scratch_bytes(GetParam().device, rows, features));
    batch_norm_forward_train(context(), out_device, mean_device, scale_device, running_mean_device,
                             running_variance_device, x_device, weight_device, bias_device);
    batch_norm_backward(context(), dout_device, dweight_device, dbias_device, dout_device, x_device,
                        mean_device, scale_device, weight_device);

    auto out = blank(size), mean = blank(features), scale = blank(features);
    batch_norm_forward_train(reference(), view(out, {rows, features}), view(mean, {features}),
                             view(scale, {features}), view(running_mean, {features}),
                             view(running_variance, {features}), view(x, {rows, features}),
                             view(weight, {features}), view(bias, {features}));
    batch_norm_backward(reference(), view(dout, {rows, features}), view(dweight, {features}),
                        view(dbias, {features}), view(dout, {rows, features}),
                        view(x, {rows, features}), view(mean, {features}), view(scale, {features}),
                        view(weight, {features}));
    expect_close(download(mean_device), mean);
    expect_close(download(scale_device), scale);
    expect_close(download(running_variance_device), running_variance);
    expect_close(download(out_device), out);
    expect_close(download(dout_device), dout);
    expect_close(download(dweight_device), dweight);
    expect_close(download(dbias_device), dbias);
  }
}

TEST_P(WideRows, CrossEntropy) {
  constexpr std::int64_t rows = 5;
  for (const std::int64_t vocabulary : {512, 4096, 8192, 8200, 32000, 32768, 32776, 50257}) {
    SCOPED_TRACE(testing::Message() << "vocabulary " << vocabulary);
    auto logits = normal(rows * vocabulary, 3.0);
    std::vector<std::int32_t> targets;
    for (std::int64_t n = 0; n < rows; ++n) {
      targets.push_back(n == 3 ? -1 : static_cast<std::int32_t>(integer(0, vocabulary - 1)));
    }
    targets[0] = static_cast<std::int32_t>(vocabulary - 1);
    const Tensor logits_device = upload(dtype(), {rows, vocabulary}, logits);
    const Tensor targets_device = upload(DType::i32, {rows}, targets);
    const Tensor losses_device = poisoned(accumulator(), {rows});
    cross_entropy(context(), losses_device, logits_device, targets_device, 0.125);

    auto losses = blank(rows);
    cross_entropy(reference(), view(losses, {rows}), view(logits, {rows, vocabulary}),
                  Tensor(targets.data(), DType::i32, {rows}), 0.125);
    expect_close(download(losses_device), losses);
    expect_close(download(logits_device), logits);
  }
}

TEST_P(WideRows, Linear) {
  constexpr std::int64_t rows = 1061, inputs = 264;
  for (const std::int64_t outputs : {8, 515, 520}) {
    SCOPED_TRACE(testing::Message() << outputs << " outputs");
    auto x = normal(rows * inputs), weight = normal(outputs * inputs), bias = normal(outputs);
    auto dout = normal(rows * outputs), dx = normal(rows * inputs);
    auto dweight = normal(outputs * inputs), dbias = normal(outputs);
    const Tensor x_device = upload(dtype(), {rows, inputs}, x);
    const Tensor weight_device = upload(dtype(), {outputs, inputs}, weight);
    const Tensor bias_device = upload(dtype(), {outputs}, bias);
    const Tensor dout_device = upload(dtype(), {rows, outputs}, dout);
    const Tensor dx_device = upload(dtype(), {rows, inputs}, dx);
    const Tensor dweight_device = upload(accumulator(), {outputs, inputs}, dweight);
    const Tensor dbias_device = upload(accumulator(), {outputs}, dbias);
    const Tensor out_device = poisoned(dtype(), {rows, outputs});
    reserve_scratch(linear_scratch_bytes(GetParam().device, rows, outputs));
    linear_forward(context(), out_device, x_device, weight_device, bias_device);
    linear_backward_input(context(), dx_device, dout_device, weight_device, true);
    linear_backward_weight(context(), dweight_device, dbias_device, dout_device, x_device);

    auto out = blank(rows * outputs);
    linear_forward(reference(), view(out, {rows, outputs}), view(x, {rows, inputs}),
                   view(weight, {outputs, inputs}), view(bias, {outputs}));
    linear_backward_input(reference(), view(dx, {rows, inputs}), view(dout, {rows, outputs}),
                          view(weight, {outputs, inputs}), true);
    linear_backward_weight(reference(), view(dweight, {outputs, inputs}), view(dbias, {outputs}),
                           view(dout, {rows, outputs}), view(x, {rows, inputs}));
    expect_close(download(out_device), out);
    expect_close(download(dx_device), dx);
    expect_close(download(dweight_device), dweight);
    expect_close(download(dbias_device), dbias);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, WideRows, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
