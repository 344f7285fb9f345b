// AdamW over several updates against its definition in double; clipping; what a bad norm must not
// do.
#include "optim/adamw.h"

#include "tests/support/optim_test.h"

namespace memengine {
namespace {

class AdamW : public OptimTest {
 protected:
  // Bias corrections and learning rates are FP32 numbers of the schedule. One number alone may
  // nearly cancel.
  static double bound(std::int64_t count) { return count == 1 ? 1e-3 : 1e-6; }
};

TEST_P(AdamW, FollowsItsDefinition) {
  for (const std::int64_t count : {1, 19, 99, 989, 40009}) {
    for (const double weight_decay : {0.0, 0.1}) {
      start(5);
      adam_.weight_decay = weight_decay;
      std::vector<double> weights = normal(count);
      const Tensor device_weights = upload(accumulator(), {count}, weights);
      const Tensor m = zeros(accumulator(), {count});
      const Tensor v = zeros(accumulator(), {count});
      const Tensor compute = poisoned(DType::bf16, {count});
      std::vector<AdamReference> reference(at(count));
      for (std::int64_t i = 0; i < count; ++i) reference[at(i)].w = weights[at(i)];
      for (std::int64_t step = 1; step <= 5; ++step) {
        std::vector<double> gradients = normal(count);
        const float scale = 1.0F / static_cast<float>(step);
        set_scales(scale, std::nan(""));
        adamw(context(), device_weights, compute, m, v, upload(accumulator(), {count}, gradients),
              state_, adam_);
        advance_step(context(), state_);
        for (std::int64_t i = 0; i < count; ++i) {
          reference[at(i)].decay(entry(step).learning_rate, weight_decay);
          reference[at(i)].update(gradients[at(i)] * scale, entry(step).learning_rate, adam_, step);
        }
      }
      EXPECT_EQ(download_integers(state_.step)[0], 5);
      std::vector<double> expected_weights, expected_m, expected_v;
      for (const AdamReference& one : reference) {
        expected_weights.push_back(one.w);
        expected_m.push_back(one.m);
        expected_v.push_back(one.v);
      }
      const std::vector<double> updated = download(device_weights);
      expect_close(updated, expected_weights, bound(count));
      expect_close(download(m), expected_m, bound(count));
      expect_close(download(v), expected_v, bound(count));
      const std::vector<double> rounded = download(compute);
      for (std::size_t i = 0; i < rounded.size(); ++i) {
        EXPECT_EQ(rounded[i], to_float(to_bfloat16(static_cast<float>(updated[i]))));
      }
    }
  }
}

TEST_P(AdamW, ANormThatIsNotFiniteChangesNothing) {
  start(3);
  const std::int64_t count = 99;
  std::vector<double> weights = normal(count);
  std::vector<double> m_before = normal(count);
  std::vector<double> v_before(at(count), 0.5);
  std::vector<double> gradients(at(count), std::nan(""));
  std::vector<double> infinite = {std::numeric_limits<double>::infinity()};
  const Tensor device_weights = upload(accumulator(), {count}, weights);
  const Tensor m = upload(accumulator(), {count}, m_before);
  const Tensor v = upload(accumulator(), {count}, v_before);
  const Tensor norm = poisoned(DType::f64, {1});
  clip_scale(context(), state_.dense_scale, norm, upload(DType::f64, {1}, infinite), 1.0);
  adamw(context(), device_weights, Tensor(), m, v, upload(accumulator(), {count}, gradients),
        state_, adam_);
  EXPECT_EQ(download(device_weights), weights);
  EXPECT_EQ(download(m), m_before);
  EXPECT_EQ(download(v), v_before);
}

TEST_P(AdamW, ClipScaleBoundsTheNorm) {
  const Tensor scale = poisoned(DType::f32, {1});
  const Tensor norm = poisoned(DType::f64, {1});
  const auto clip = [&](double square_sum, double max_norm) {
    std::vector<double> sum = {square_sum};
    clip_scale(context(), scale, norm, upload(DType::f64, {1}, sum), max_norm);
    return download(scale)[0];
  };
  EXPECT_NEAR(clip(16.0, 1.0), 0.25, 1e-6);
  EXPECT_DOUBLE_EQ(download(norm)[0], 4.0);
  EXPECT_EQ(clip(0.25, 1.0), 1.0);
  EXPECT_EQ(clip(0.0, 1.0), 1.0);
  EXPECT_EQ(clip(1e12, 0.0), 1.0);   // no clipping
  EXPECT_EQ(clip(1e12, -1.0), 1.0);  // no clipping
  EXPECT_DOUBLE_EQ(download(norm)[0], 1e6);
  EXPECT_TRUE(std::isnan(clip(std::nan(""), 1.0)));
  EXPECT_TRUE(std::isnan(clip(std::numeric_limits<double>::infinity(), 0.0)));
}

TEST_P(AdamW, RefusesToRunPastItsSchedule) {
  if (context().on_cuda()) GTEST_SKIP() << "checked by the CPU reference";
  start(1);
  advance_step(context(), state_);
  const Tensor one = zeros(accumulator(), {1});
  EXPECT_THROW(adamw(context(), one, Tensor(), one, one, one, state_, adam_), Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, AdamW, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
