#include "kernels/cross_entropy.h"

#include <algorithm>

#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

class CrossEntropy : public GradientTest {
 protected:
  struct Size {
    std::int64_t rows, vocabulary;
  };
  static constexpr Size sizes[] = {{64, 2},    {19, 19},    {989, 99}, {19, 989},
                                   {9, 32001}, {2, 128256}, {5, 4096}};

  // Random targets, every seventh or so to be ignored.
  std::vector<std::int32_t> targets(std::int64_t rows, std::int64_t vocabulary) {
    std::vector<std::int32_t> result;
    for (std::int64_t n = 0; n < rows; ++n) {
      const bool ignored = n > 0 && integer(0, 6) == 0;
      result.push_back(ignored ? -1 : static_cast<std::int32_t>(integer(0, vocabulary - 1)));
    }
    return result;
  }
};

struct Scores {
  double log_sum_exp;
  std::int32_t best;
};

Scores scores(const std::vector<double>& logits, std::size_t first, std::size_t vocabulary) {
  const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(first);
  const auto end = begin + static_cast<std::ptrdiff_t>(vocabulary);
  const auto best = std::max_element(begin, end);
  double total = 0;
  for (auto z = begin; z != end; ++z) total += std::exp(*z - *best);
  return {*best + std::log(total), static_cast<std::int32_t>(best - begin)};
}

TEST_P(CrossEntropy, LossAndGradient) {
  for (const auto [rows, vocabulary] : sizes) {
    for (const double deviation : {2.0, 300.0}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << vocabulary << " * " << deviation);
      const double gradient_scale = 1.0 / 37;
      auto logits = normal(rows * vocabulary, deviation);
      const auto target = targets(rows, vocabulary);
      const Tensor logits_tensor = upload(dtype(), {rows, vocabulary}, logits);
      const Tensor losses = poisoned(accumulator(), {rows});
      std::vector<double> loss(target.size());
      std::vector<double> gradient(logits.size());
      for (std::size_t n = 0; n < target.size(); ++n) {
        if (target[n] < 0) continue;
        const auto width = static_cast<std::size_t>(vocabulary);
        const std::size_t first = n * width;
        const double log_sum_exp = scores(logits, first, width).log_sum_exp;
        for (std::size_t v = 0; v < width; ++v) {
          gradient[first + v] = std::exp(logits[first + v] - log_sum_exp) * gradient_scale;
        }
        const std::size_t of_target = first + static_cast<std::size_t>(target[n]);
        gradient[of_target] -= gradient_scale;
        loss[n] = log_sum_exp - logits[of_target];
      }
      cross_entropy(context(), losses, logits_tensor, upload(DType::i32, {rows}, target),
                    gradient_scale);
      expect_close(download(losses), loss);
      const auto actual = download(logits_tensor);
      expect_close(actual, gradient);
      for (std::size_t i = 0; i < actual.size(); ++i) {
        if (target[i / static_cast<std::size_t>(vocabulary)] < 0) {
          ASSERT_EQ(actual[i], 0.0);
        }
      }
    }
  }
}

TEST_P(CrossEntropy, GradientIsThatOfTheLoss) {
  auto logits = normal(3 * 19, 2.0);
  const std::vector<std::int32_t> target = {18, -1, 0};
  const Tensor logits_tensor = upload(dtype(), {3, 19}, logits);
  cross_entropy(context(), poisoned(accumulator(), {3}), logits_tensor,
                upload(DType::i32, {3}, target), 2.5);
  expect_gradient(
      download(logits_tensor), logits,
      [&](const std::vector<double>& at) {
        return 2.5 *
               (scores(at, 0, 19).log_sum_exp - at[18] + scores(at, 38, 19).log_sum_exp - at[38]);
      },
      57);
}

TEST_P(CrossEntropy, TokenScores) {
  for (const auto [rows, vocabulary] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << vocabulary);
    auto logits = normal(rows * vocabulary, 2.0);
    if (rows > 2) {  // a tie, and a row of equal logits: the lowest index wins
      const auto width = static_cast<std::size_t>(vocabulary);
      logits[width + width / 2] = logits[width + width - 1] = 64;
      for (std::size_t v = 0; v < width; ++v) logits[2 * width + v] = -3;
    }
    const auto target = targets(rows, vocabulary);
    const Tensor logits_tensor = upload(dtype(), {rows, vocabulary}, logits);
    const Tensor log_probabilities = poisoned(accumulator(), {rows});
    const Tensor best = poisoned(DType::i32, {rows});
    token_scores(context(), log_probabilities, best, logits_tensor,
                 upload(DType::i32, {rows}, target));
    std::vector<double> expected(target.size());
    std::vector<std::int32_t> expected_best(target.size());
    for (std::size_t n = 0; n < target.size(); ++n) {
      const auto width = static_cast<std::size_t>(vocabulary);
      const Scores row = scores(logits, n * width, width);
      expected_best[n] = row.best;
      if (target[n] >= 0) {
        expected[n] = logits[n * width + static_cast<std::size_t>(target[n])] - row.log_sum_exp;
      }
    }
    expect_close(download(log_probabilities), expected);
    EXPECT_EQ(download_integers(best), expected_best);
    expect_close(download(logits_tensor), logits, 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, CrossEntropy, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
