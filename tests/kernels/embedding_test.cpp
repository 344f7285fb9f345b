#include "kernels/embedding.h"

#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

class Embedding : public GradientTest {
 protected:
  struct Size {
    std::int64_t tokens, vocabulary, channels;
  };
  // A vocabulary of one is the worst skew: every token adds to the same row.
  static constexpr Size sizes[] = {{1, 1, 1},      {19, 5, 7},     {989, 1, 19},
                                   {989, 512, 64}, {99, 32003, 9}, {4096, 3, 128}};
};

TEST_P(Embedding, ForwardCopiesAndBackwardAdds) {
  for (const auto [count, vocabulary, channels] : sizes) {
    SCOPED_TRACE(testing::Message() << count << " tokens of " << vocabulary << " x " << channels);
    std::vector<std::int32_t> tokens;
    for (std::int64_t n = 0; n < count; ++n) {
      tokens.push_back(static_cast<std::int32_t>(integer(0, vocabulary - 1)));
    }
    tokens[0] = static_cast<std::int32_t>(vocabulary - 1);
    const Tensor token_tensor = upload(DType::i32, {count}, tokens);
    auto weight = normal(vocabulary * channels);
    const Tensor weight_tensor = upload(dtype(), {vocabulary, channels}, weight);
    const Tensor out = poisoned(dtype(), {count, channels});
    embedding_forward(context(), out, token_tensor, weight_tensor);
    auto dout = normal(count * channels);
    const Tensor dout_tensor = upload(dtype(), {count, channels}, dout);
    auto dweight = normal(vocabulary * channels);
    const auto dweight_before = dweight;
    const Tensor dweight_tensor = upload(accumulator(), {vocabulary, channels}, dweight);

    const auto width = static_cast<std::size_t>(channels);
    std::vector<double> rows;
    for (std::size_t n = 0; n < tokens.size(); ++n) {
      const std::size_t row = static_cast<std::size_t>(tokens[n]) * width;
      for (std::size_t c = 0; c < width; ++c) {
        rows.push_back(weight[row + c]);
        dweight[row + c] += dout[n * width + c];
      }
    }
    expect_close(download(out), rows, 0.0);
    reserve_scratch(embedding_scratch_bytes(GetParam().device, count, vocabulary));
    embedding_backward(context(), dweight_tensor, dout_tensor, token_tensor);
    const auto first = download(dweight_tensor);
    expect_close(first, dweight);

    auto again = dweight_before;
    const Tensor again_tensor = upload(accumulator(), {vocabulary, channels}, again);
    embedding_backward(context(), again_tensor, dout_tensor, token_tensor);
    EXPECT_EQ(download(again_tensor), first) << "not deterministic";
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, Embedding, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
