// Rows that no step touches decay by what was in force at each step: also where a resumed run has
// other learning rates than before, and not at all in updates that are left out.
#include "engine/model_files/row_decay.h"

#include <cmath>

#include "engine/model_files/model_source.h"
#include "engine/model_files/weight_reader.h"
#include "tests/engine/training/training_testing.h"

namespace memengine {
namespace {

const std::string table = "layers.1.feed_forward.values.weight";

template <typename T, typename Reader>
std::vector<T> numbers(const Reader& from, const std::string& name) {
  std::vector<T> result(from.find(name)->bytes / sizeof(T));
  from.read(name, 0, std::as_writable_bytes(std::span(result)));
  return result;
}

// Constant learning rates, so that what decays can be said in a word: 5% a step, then 1%.
class RowDecay : public SmallRuns {
 protected:
  RowDecay() { write_byte_shard(folder_ / "data/val_000000.bin", random_walk(200)); }

  static std::vector<std::string> keys(const std::string& value_learning_rate,
                                       const std::string& steps) {
    return {"optim.scheduler=constant", "validation.every=100", "steps=" + steps,
            "model.productkey_args.value_fixed_lr=" + value_learning_rate};
  }
  Checkpoint checkpoint(const std::string& run, std::int64_t step) const {
    return Checkpoint(checkpoints(run) / checkpoint_name(step));
  }
};

TEST_F(RowDecay, ChangedLearningRatesLeaveThePastAsItWas) {
  train("run", keys("0.5", "4"));
  ASSERT_EQ(error, "");
  const std::vector<std::int32_t> before =
      numbers<std::int32_t>(checkpoint("run", 4), table + ".last_step");
  const std::vector<float> rows_before = numbers<float>(checkpoint("run", 4), table);
  train("run", keys("0.1", "8"));
  ASSERT_EQ(error, "");
  const Checkpoint now = checkpoint("run", 8);
  const std::vector<std::int32_t> last = numbers<std::int32_t>(now, table + ".last_step");
  const std::vector<float> stored = numbers<float>(now, table);
  const ModelSource source = find_model(folder_ / "run");
  const std::vector<float> read = numbers<float>(open_weights(source), table);
  const std::size_t columns = read.size() / last.size();
  std::size_t never = 0, early = 0;
  for (std::size_t row = 0; row < last.size(); ++row) {
    const double owed = last[row] <= 4 ? std::pow(0.95, 4 - last[row]) * std::pow(0.99, 4)
                                       : std::pow(0.99, 8 - last[row]);
    never += last[row] == 0 ? 1 : 0;
    early += last[row] > 0 && last[row] < 4 ? 1 : 0;
    for (std::size_t e = row * columns; e < (row + 1) * columns; ++e) {
      ASSERT_TRUE(last[row] != before[row] || stored[e] == rows_before[e]);
      ASSERT_NEAR(read[e], stored[e] * owed, 1e-6 * std::abs(stored[e])) << "row " << row;
    }
  }
  EXPECT_GT(never, 0U);
  EXPECT_GT(early, 0U);
}

// What the model in training reads is the same before and after a resume that changes everything
// that decay depends on; and the first step after it is that of a run that went on.
TEST_F(RowDecay, AResumedModelIsTheModelThatStopped) {
  TrainingRecord record;
  double loss = 0;
  {
    Trainer trainer(config("run", keys("0.5", "4")), {&record});
    trainer.run([] { return false; });
    loss = trainer.validate().loss;
  }
  std::vector<std::vector<std::string>> changes = {keys("0.1", "40"), keys("0.5", "7"),
                                                   keys("0.5", "40"), keys("null", "9")};
  changes.push_back({"optim.scheduler=linear", "optim.warmup=3", "validation.every=100", "steps=20",
                     "model.productkey_args.value_fixed_lr=0.01"});
  for (const std::vector<std::string>& change : changes) {
    Trainer resumed(config("run", change), {&record});
    EXPECT_EQ(resumed.step(), 4);
    EXPECT_EQ(resumed.validate().loss, loss) << fmt::format("{}", fmt::join(change, " "));
  }
}

TEST_F(RowDecay, UpdatesThatAreLeftOutDoNotDecay) {
  // With a deviation of nothing as the limit nearly every update after the first is a spike.
  std::vector<std::string> overrides = keys("0.5", "12");
  overrides.insert(overrides.end(),
                   {"guard.spike_window=1", "guard.spike_zscore=0.0001", "guard.skip_spikes=true",
                    "checkpoint.dump.every=1", "checkpoint.dump.keep=0"});
  const TrainingRecord record = train("run", overrides);
  ASSERT_EQ(error, "");
  const auto skipped = static_cast<double>(record.last.skipped_updates);
  ASSERT_GT(skipped, 0);
  ASSERT_LT(skipped, 12);
  const std::vector<double> decay = past_row_decay(checkpoint("run", 12));
  ASSERT_EQ(decay.size(), 13U);
  EXPECT_NEAR(decay.back(), (12 - skipped) * std::log(0.95), 1e-7);
  std::vector<float> before, after;
  int left_out = 0;
  for (std::int64_t step = 1; step <= 12; ++step) {
    after =
        numbers<float>(open_weights(find_model(checkpoints("run") / checkpoint_name(step))), table);
    if (step > 1 &&
        decay[static_cast<std::size_t>(step)] == decay[static_cast<std::size_t>(step) - 1]) {
      EXPECT_EQ(after, before) << "the update of step " << step << " was left out";
      ++left_out;
    }
    before = after;
  }
  EXPECT_EQ(left_out, static_cast<int>(skipped));
}

TEST_F(RowDecay, DecayThatWouldNeverBeAppliedIsRefused) {
  train("run", keys("0.5", "4"));
  for (const std::string change : {"value_weight_decay=0", "value_optimizer=dense_adamw"}) {
    std::vector<std::string> overrides = keys("0.5", "8");
    overrides.insert(overrides.end(),
                     {"checkpoint.force_resume=true", "model.productkey_args." + change});
    train("run", overrides);
    EXPECT_NE(error.find("0000000004: its value rows still owe the decay"), std::string::npos)
        << change << ": " << error;
  }
  // The other way there is nothing to owe.
  std::vector<std::string> none = keys("0.5", "4");
  none.push_back("model.productkey_args.value_weight_decay=0");
  train("none", none);
  std::vector<std::string> some = keys("0.5", "6");
  some.push_back("checkpoint.force_resume=true");
  train("none", some);
  ASSERT_EQ(error, "");
  const std::vector<double> decay = past_row_decay(checkpoint("none", 6));
  EXPECT_EQ(decay[4], 0);
  EXPECT_NEAR(decay[6], 2 * std::log(0.95), 1e-7);
}

}  // namespace
}  // namespace memengine
