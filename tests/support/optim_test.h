// Fixture for the optimizers: an UpdateState on the device, and Adam in double.
#pragma once

#include "optim/adamw.h"
#include "tests/support/memory_op_test.h"

namespace memengine {

// One number's Adam, straight from the definition.
struct AdamReference {
  double w = 0, m = 0, v = 0;

  void decay(double learning_rate, double weight_decay) { w *= 1 - learning_rate * weight_decay; }
  void update(double gradient, double learning_rate, const AdamHyperparameters& adam,
              std::int64_t step) {
    m = adam.beta1 * m + (1 - adam.beta1) * gradient;
    v = adam.beta2 * v + (1 - adam.beta2) * gradient * gradient;
    const double corrected_m = m / (1 - std::pow(adam.beta1, static_cast<double>(step)));
    const double corrected_v = v / (1 - std::pow(adam.beta2, static_cast<double>(step)));
    w -= learning_rate * corrected_m / (std::sqrt(corrected_v) + adam.epsilon);
  }
};

class OptimTest : public MemoryOpTest {
 protected:
  // A cosine schedule of `total` steps, before its first update, with clipping scales of 1.
  void start(std::int64_t total, double value_weight_decay = 0.1) {
    OptimConfig config;
    config.lr = 1e-2;
    config.warmup = 0;
    schedule_ = make_schedule(config, 3e-2, value_weight_decay, total);
    const auto bytes = static_cast<std::int64_t>(schedule_.entries.size() * sizeof(ScheduleEntry));
    state_.schedule = poisoned(DType::u8, {bytes});
    copy_bytes(context(), state_.schedule.data(), schedule_.entries.data(), bytes);
    state_.log_decay = upload(DType::f64, {total + 1}, schedule_.value_log_decay);
    state_.step = zeros(DType::i32, {1});
    set_scales(1, 1);
  }
  void set_scales(double dense, double value) {
    std::vector<double> scales = {dense, value};
    const Tensor tensor = upload(DType::f32, {2}, scales);
    state_.dense_scale = tensor.rows(0, 1);
    state_.value_scale = tensor.rows(1, 1);
  }
  const ScheduleEntry& entry(std::int64_t step) const { return schedule_.entries[at(step)]; }

  Schedule schedule_;
  UpdateState state_;
  AdamHyperparameters adam_;
};

}  // namespace memengine
