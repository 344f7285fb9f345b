// Chapter 4: sparse Adam, and weight decay that is made up for when a row is next used.
//
// The learning rate falls from 0.10 by 0.01 with every step and the weight decay is 1, so step t
// keeps 0.90, 0.91, 0.92, ... of a weight.
#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "engine/course/answer.h"
#include "engine/course/blackboard.h"
#include "engine/course/chapter.h"
#include "optim/sparse_adam.h"

namespace memengine::course {
namespace lazy_decay {
namespace {

constexpr std::int64_t total_steps = 10;

Schedule falling_rate() {
  OptimConfig config;
  config.scheduler = Scheduler::linear;
  config.warmup = 0;
  config.lr_min_ratio = 0;
  return make_schedule(config, 0.1, 1.0, total_steps);
}

// A table of one row of one number.
class OneRow {
 public:
  explicit OneRow(float weight)
      : schedule_(falling_rate()),
        table_(board_.table(1, 1, weight)),
        state_(board_.updates(schedule_)),
        list_(board_.deduplicate(board_.integers({0}), 1)),
        gradient_(board_.floats({1, 1}, {1})),
        ever_used_(board_.integers({0})) {}

  // One update of the run; the row has gradient 1 where it is picked.
  void update(bool picked) {
    if (picked) {
      sparse_adam(board_.context(), table_, {}, list_, gradient_, ever_used_, state_,
                  AdamHyperparameters{}, 0);
    }
    advance_step(board_.context(), state_);
  }

  float stored() const { return first_weight(table_, 0); }
  // What a forward pass reads now.
  float read() {
    const Tensor out = board_.zeros(DType::f32, {1, 1});
    gather_rows(board_.context(), out, table_, list_, ValuePrecision::fp32,
                {state_.log_decay, state_.step});
    return *out.as<float>();
  }
  void set_last_step(std::uint32_t step) {
    std::memcpy(table_.records + table_.layout.step_offset(), &step, sizeof step);
  }
  double log_decay(std::int64_t step) const { return state_.log_decay.as<double>()[step]; }
  const ScheduleEntry& entry(std::int64_t step) const {
    return schedule_.entries[static_cast<std::size_t>(step)];
  }

 private:
  Blackboard board_;
  Schedule schedule_;
  ValueRows table_;
  UpdateState state_;
  UniqueRows list_;
  Tensor gradient_, ever_used_;
};

// Adam with decay at every step, in double; moments move only where there is a gradient.
class EagerRow {
 public:
  explicit EagerRow(double weight) : weight_(weight) {}

  void update(const ScheduleEntry& entry, bool picked) {
    weight_ *= 1 - entry.value_learning_rate;  // times the weight decay, 1
    if (!picked) return;
    const AdamHyperparameters adam;
    m_ = adam.beta1 * m_ + (1 - adam.beta1);
    v_ = adam.beta2 * v_ + (1 - adam.beta2);
    weight_ -= entry.value_learning_rate * (m_ / entry.bias_correction1) /
               (std::sqrt(v_ / entry.bias_correction2) + adam.epsilon);
  }
  double weight() const { return weight_; }

 private:
  double weight_, m_ = 0, v_ = 0;
};

std::string example() {
  OneRow row(1);
  EagerRow eager(1);
  std::string text =
      "A row of one number, 1.0 at first, picked in steps 1 and 5 with gradient 1.\n\n"
      "step     lr   keep  log_decay   row       decayed at    stored in  read by the\n"
      "                    [step]      picked    every step    the table    next step";
  for (std::int64_t step = 1; step <= 6; ++step) {
    const bool picked = step == 1 || step == 5;
    row.update(picked);
    const ScheduleEntry& entry = row.entry(step);
    eager.update(entry, picked);
    text += fmt::format(
        "\n{:>4}  {:>5.2f}  {:>5.2f}  {:>9.5f}   {:<6}  {:>13.6f} {:>12.6f} {:>12.6f}", step,
        entry.value_learning_rate, std::exp(entry.value_log_keep), row.log_decay(step),
        picked ? "picked" : "", eager.weight(), row.stored(), row.read());
  }
  return text;
}

constexpr float asked_weight = 2;
constexpr std::int64_t asked_last = 3;
constexpr std::int64_t asked_step = 7;

double asked_read() {
  OneRow row(asked_weight);
  for (std::int64_t step = 1; step < asked_step; ++step) row.update(false);
  row.set_last_step(asked_last);
  return row.read();
}

// The weight after the decay of steps first to last.
double kept(std::int64_t first, std::int64_t last) {
  const Schedule schedule = falling_rate();
  double weight = asked_weight;
  for (std::int64_t step = first; step <= last; ++step) {
    weight *= 1 - schedule.entries[static_cast<std::size_t>(step)].value_learning_rate;
  }
  return weight;
}

std::string question() {
  return "With the same learning rates (0.10 in step 1, 0.01 less in every next one) and weight "
         "decay\n"
         "1: a row was last updated in step 3, which left 2.0 in the table. What does the forward\n"
         "pass of step 7 read? To three digits.";
}

Verdict check(const std::string& answer) {
  const double given = read_numbers(answer, 1, "the weight that step 7 reads")[0];
  if (agree(given, asked_read())) {
    return {true,
            "2.0 * exp(log_decay[6] - log_decay[3]) = 2.0 * 0.93 * 0.94 * 0.95: one "
            "subtraction, however many steps the row has missed."};
  }
  if (agree(given, kept(asked_last + 1, asked_step))) {
    return {false, "step 7's own decay belongs to its update, which comes after its forward pass"};
  }
  if (agree(given, kept(asked_last, asked_step - 1))) {
    return {false, "step 3's decay is in the 2.0 already: the row was updated in that step"};
  }
  if (agree(given, asked_weight)) {
    return {false, "2.0 is what is stored; the row has missed the decay of some steps since"};
  }
  return {false,
          "multiply 2.0 by what every missed step keeps, 1 - its learning rate; which steps "
          "come after step 3 and are done before step 7 reads?"};
}

}  // namespace
}  // namespace lazy_decay

Chapter lazy_decay_chapter() {
  return {4,
          "04_lazy_decay",
          "Sparse Adam and lazy decay",
          lazy_decay::example,
          lazy_decay::question,
          lazy_decay::check};
}

}  // namespace memengine::course
