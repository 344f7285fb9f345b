#include "kernels/norm/batch_norm.h"

#include <barrier>
#include <mutex>
#include <span>
#include <thread>

#include "kernels/runtime/communicator.h"
#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

constexpr double batch_epsilon = 1e-5;

struct ColumnStatistics {
  std::vector<double> mean, variance;  // biased
};

ColumnStatistics column_statistics(const std::vector<double>& x, std::size_t features) {
  const Sum rows = static_cast<Sum>(x.size() / features);
  std::vector<Sum> mean(features), variance(features);
  for (std::size_t i = 0; i < x.size(); ++i) mean[i % features] += x[i] / rows;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Sum centred = x[i] - mean[i % features];
    variance[i % features] += centred * centred / rows;
  }
  return {{mean.begin(), mean.end()}, {variance.begin(), variance.end()}};
}

std::vector<double> normalised(std::vector<double> x, const ColumnStatistics& s,
                               const std::vector<double>& weight, const std::vector<double>& bias) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t f = i % weight.size();
    x[i] = (x[i] - s.mean[f]) / std::sqrt(s.variance[f] + batch_epsilon) * weight[f] + bias[f];
  }
  return x;
}

class BatchNorm : public GradientTest {
 protected:
  struct Size {
    std::int64_t rows, features;
  };
  // The last two are more slabs than a block of the GPU has groups for, and as many as there can
  // be.
  static constexpr Size sizes[] = {{7, 3},    {5, 19},    {99, 64},  {989, 19},
                                   {64, 989}, {9999, 24}, {40001, 5}};

  // Columns with means and deviations of their own.
  std::vector<double> inputs(std::int64_t rows, std::int64_t features) {
    auto x = normal(rows * features);
    const auto shift = normal(features, 3.0);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t f = i % shift.size();
      x[i] = x[i] * (1 + static_cast<double>(f % 5)) + shift[f];
    }
    return x;
  }
};

TEST_P(BatchNorm, ForwardTrainsAndEvaluates) {
  for (const auto [rows, features] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << features);
    const auto width = static_cast<std::size_t>(features);
    auto x = inputs(rows, features);
    auto weight = normal(features);
    auto bias = normal(features);
    auto running_mean = normal(features);
    std::vector<double> running_variance(width, 2.0);
    const Tensor x_tensor = upload(dtype(), {rows, features}, x);
    const Tensor weight_tensor = upload(accumulator(), {features}, weight);
    const Tensor bias_tensor = upload(accumulator(), {features}, bias);
    const Tensor running_mean_tensor = upload(accumulator(), {features}, running_mean);
    const Tensor running_variance_tensor = upload(accumulator(), {features}, running_variance);
    const Tensor mean = poisoned(accumulator(), {features});
    const Tensor inverse_std = poisoned(accumulator(), {features});
    const Tensor out = poisoned(dtype(), {rows, features});
    reserve_scratch(batch_norm_scratch_bytes(GetParam().device, rows, features));
    batch_norm_forward_train(context(), out, mean, inverse_std, running_mean_tensor,
                             running_variance_tensor, x_tensor, weight_tensor, bias_tensor);

    const ColumnStatistics s = column_statistics(x, width);
    std::vector<double> expected_inverse(width);
    ColumnStatistics running{running_mean, running_variance};
    const double unbiased = static_cast<double>(rows) / static_cast<double>(rows - 1);
    for (std::size_t f = 0; f < width; ++f) {
      expected_inverse[f] = 1 / std::sqrt(s.variance[f] + batch_epsilon);
      running.mean[f] = 0.9 * running.mean[f] + 0.1 * s.mean[f];
      running.variance[f] = 0.9 * running.variance[f] + 0.1 * s.variance[f] * unbiased;
    }
    expect_close(download(out), normalised(x, s, weight, bias));
    expect_close(download(mean), s.mean);
    expect_close(download(inverse_std), expected_inverse);
    expect_close(download(running_mean_tensor), running.mean);
    expect_close(download(running_variance_tensor), running.variance);

    const Tensor evaluated = poisoned(dtype(), {rows, features});
    batch_norm_forward_eval(context(), evaluated, x_tensor, running_mean_tensor,
                            running_variance_tensor, weight_tensor, bias_tensor);
    expect_close(download(evaluated), normalised(x, running, weight, bias));

    // In place gives the same.
    batch_norm_forward_train(context(), x_tensor, mean, inverse_std, running_mean_tensor,
                             running_variance_tensor, x_tensor, weight_tensor, bias_tensor);
    expect_close(download(x_tensor), download(out), 0.0);
    const Tensor again = upload(dtype(), {rows, features}, x);
    const auto moved = download(running_mean_tensor);
    batch_norm_forward_eval(
        context(), again, again, upload(accumulator(), {features}, running.mean),
        upload(accumulator(), {features}, running.variance), weight_tensor, bias_tensor);
    expect_close(download(again), normalised(x, running, weight, bias));
    EXPECT_EQ(download(running_mean_tensor), moved) << "evaluation moved the averages";
  }
}

TEST_P(BatchNorm, Backward) {
  for (const auto [rows, features] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << features);
    const auto width = static_cast<std::size_t>(features);
    auto x = inputs(rows, features);
    auto dout = normal(rows * features);
    auto weight = normal(features);
    auto bias = normal(features);
    auto dweight_before = normal(features);
    auto dbias_before = normal(features);
    const Tensor x_tensor = upload(dtype(), {rows, features}, x);
    const Tensor dout_tensor = upload(dtype(), {rows, features}, dout);
    const Tensor weight_tensor = upload(accumulator(), {features}, weight);
    const Tensor bias_tensor = upload(accumulator(), {features}, bias);
    const Tensor dweight = upload(accumulator(), {features}, dweight_before);
    const Tensor dbias = upload(accumulator(), {features}, dbias_before);
    const Tensor mean = poisoned(accumulator(), {features});
    const Tensor inverse_std = poisoned(accumulator(), {features});
    reserve_scratch(batch_norm_scratch_bytes(GetParam().device, rows, features));
    batch_norm_forward_train(context(), poisoned(dtype(), {rows, features}), mean, inverse_std,
                             zeros(accumulator(), {features}), zeros(accumulator(), {features}),
                             x_tensor, weight_tensor, bias_tensor);
    const Tensor dx = poisoned(dtype(), {rows, features});
    batch_norm_backward(context(), dx, dweight, dbias, dout_tensor, x_tensor, mean, inverse_std,
                        weight_tensor);
    expect_gradient(download(dx), x, [&](const std::vector<double>& at) {
      return inner_product(dout, normalised(at, column_statistics(at, width), weight, bias));
    });
    const ColumnStatistics s = column_statistics(x, width);
    expect_gradient(download(dweight), weight, [&](const std::vector<double>& at) {
      return inner_product(dout, normalised(x, s, at, bias)) + inner_product(dweight_before, at);
    });
    expect_gradient(download(dbias), bias, [&](const std::vector<double>& at) {
      return inner_product(dout, normalised(x, s, weight, at)) + inner_product(dbias_before, at);
    });
    batch_norm_backward(context(), dout_tensor, dweight, dbias, dout_tensor, x_tensor, mean,
                        inverse_std, weight_tensor);
    expect_close(download(dout_tensor), download(dx), 0.0);
  }
}

// Two ranks in two threads: the sum that each gets is the sum of both.
class Pair {
 public:
  void sum(std::span<double> values) {
    {
      const std::lock_guard lock(mutex_);
      total_.resize(values.size());
      for (std::size_t i = 0; i < values.size(); ++i) total_[i] += values[i];
    }
    barrier_.arrive_and_wait();
    std::copy(total_.begin(), total_.end(), values.begin());
    barrier_.arrive_and_wait();
    {
      const std::lock_guard lock(mutex_);
      total_.clear();
    }
    barrier_.arrive_and_wait();
  }

 private:
  std::mutex mutex_;
  std::barrier<> barrier_{2};
  std::vector<double> total_;
};

class PairCommunicator : public Communicator {
 public:
  explicit PairCommunicator(Pair& pair) : pair_(pair) {}
  int size() const override { return 2; }
  void all_reduce_sum(const Context&, Tensor values) override {
    pair_.sum({values.as<double>(), static_cast<std::size_t>(values.size())});
  }

 private:
  Pair& pair_;
};

TEST(BatchNormRanks, TwoRanksSeeOneBatch) {
  constexpr std::int64_t rows = 26;
  constexpr std::int64_t features = 19;
  const FreshSeed seed;
  std::mt19937_64 random(seed.value);
  std::normal_distribution<double> draw;
  const auto fill = [&](std::size_t count) {
    std::vector<double> values(count);
    for (double& value : values) value = draw(random);
    return values;
  };
  auto x = fill(rows * features);
  auto dout = fill(rows * features);
  auto weight = fill(features);
  auto bias = fill(features);

  struct Result {
    std::vector<double> out = std::vector<double>(rows * features);
    std::vector<double> dx = std::vector<double>(rows * features);
    std::vector<double> running_mean = std::vector<double>(features);
    std::vector<double> running_variance = std::vector<double>(features);
    std::vector<double> dweight = std::vector<double>(features);
    std::vector<double> dbias = std::vector<double>(features);
  };
  const auto run = [&](Result& result, Communicator* communicator, std::int64_t first,
                       std::int64_t count) {
    Runtime runtime(Device::cpu);
    runtime.reserve_scratch(batch_norm_scratch_bytes(Device::cpu, rows, features));
    Context context = runtime.context();
    if (communicator) context.communicator = communicator;
    std::vector<double> mean(features);
    std::vector<double> inverse_std(features);
    const auto per_row = [&](std::vector<double>& values) {
      return Tensor(values.data(), DType::f64, {rows, features}).rows(first, count);
    };
    const auto per_feature = [&](std::vector<double>& values) {
      return Tensor(values.data(), DType::f64, {features});
    };
    batch_norm_forward_train(context, per_row(result.out), per_feature(mean),
                             per_feature(inverse_std), per_feature(result.running_mean),
                             per_feature(result.running_variance), per_row(x), per_feature(weight),
                             per_feature(bias));
    batch_norm_backward(context, per_row(result.dx), per_feature(result.dweight),
                        per_feature(result.dbias), per_row(dout), per_row(x), per_feature(mean),
                        per_feature(inverse_std), per_feature(weight));
  };

  Result whole;
  run(whole, nullptr, 0, rows);
  Pair pair;
  Result half[2];
  std::thread other([&] {
    PairCommunicator communicator(pair);
    run(half[1], &communicator, rows / 2, rows / 2);
  });
  PairCommunicator communicator(pair);
  run(half[0], &communicator, 0, rows / 2);
  other.join();

  for (std::size_t i = 0; i < rows * features; ++i) {
    const Result& mine = half[i / (rows / 2 * features)];
    EXPECT_NEAR(mine.out[i], whole.out[i], 1e-12);
    EXPECT_NEAR(mine.dx[i], whole.dx[i], 1e-12);
  }
  for (std::size_t f = 0; f < features; ++f) {
    EXPECT_NEAR(half[1].running_mean[f], whole.running_mean[f], 1e-12);
    EXPECT_NEAR(half[1].running_variance[f], whole.running_variance[f], 1e-12);
    EXPECT_NEAR(half[0].dweight[f] + half[1].dweight[f], whole.dweight[f], 1e-12);
    EXPECT_NEAR(half[0].dbias[f] + half[1].dbias[f], whole.dbias[f], 1e-12);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, BatchNorm, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
