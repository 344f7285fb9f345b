#include "kernels/product_key/picked_scores.h"

#include "kernels/product_key/product_key.h"
#include "tests/support/op_test.h"

#include <algorithm>

namespace memengine {
namespace {

class PickedScores : public OpTest {};

TEST_P(PickedScores, AreThoseWhoseSoftmaxTheWeightsAre) {
  struct Shape {
    std::int64_t tokens, heads, knn, n_keys, k_dim;
  };
  for (const Shape s : {Shape{1, 1, 1, 1, 2}, Shape{19, 2, 3, 19, 6}, Shape{33, 3, 32, 99, 34},
                        Shape{3, 2, 8, 1024, 128}, Shape{7, 1, 16, 1500, 512}}) {
    SCOPED_TRACE(testing::Message() << s.n_keys << " keys");
    auto q = normal(s.tokens * s.heads * s.k_dim);
    auto keys = normal(s.heads * 2 * s.n_keys * (s.k_dim / 2), 0.3);
    const Tensor query = upload(dtype(), {s.tokens, s.heads, s.k_dim}, q);
    const Tensor sub_keys = upload(dtype(), {s.heads, 2, s.n_keys, s.k_dim / 2}, keys);
    const Tensor picks = poisoned(DType::i32, {s.tokens, s.heads, s.knn});
    const Tensor weights = poisoned(dtype(), {s.tokens, s.heads, s.knn});
    reserve_scratch(product_key_scratch_bytes(
        GetParam().device, {s.tokens, s.heads, s.knn, s.n_keys, s.k_dim, dtype()}));
    product_key_forward(context(), picks, weights, query, sub_keys);
    const Tensor scores = poisoned(accumulator(), {s.tokens, s.heads, s.knn});
    picked_scores(context(), scores, picks, query, sub_keys);

    const std::vector<std::int32_t> rows = download_integers(picks);
    const std::vector<double> found = download(scores);
    std::vector<double> expected, softmax;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::int64_t group = static_cast<std::int64_t>(i) / s.knn, half = s.k_dim / 2;
      const std::int64_t key[2] = {rows[i] / s.n_keys, rows[i] % s.n_keys};
      double score = 0;
      for (std::int64_t h = 0; h < 2; ++h) {
        for (std::int64_t d = 0; d < half; ++d) {
          score += q[static_cast<std::size_t>(group * s.k_dim + h * half + d)] *
                   keys[static_cast<std::size_t>(
                       ((group % s.heads * 2 + h) * s.n_keys + key[h]) * half + d)];
        }
      }
      expected.push_back(score);
    }
    expect_close(found, expected, dtype() == DType::f64 ? 1e-12 : 1e-5);
    for (std::size_t first = 0; first < found.size(); first += static_cast<std::size_t>(s.knn)) {
      double total = 0;
      for (std::int64_t k = 0; k < s.knn; ++k)
        total += std::exp(found[first + static_cast<std::size_t>(k)]);
      for (std::int64_t k = 0; k < s.knn; ++k) {
        softmax.push_back(std::exp(found[first + static_cast<std::size_t>(k)]) / total);
      }
    }
    expect_close(download(weights), softmax,
                 std::max(tolerance(), dtype() == DType::f32 ? 1e-4 : 0));
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, PickedScores, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
