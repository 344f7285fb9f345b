// What a config of the reference leaves open about its evaluation, and what training does about it.
#include "engine/run/settle_evaluation.h"

#include "engine/evaluation/task.h"
#include "tests/engine/training/training_testing.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class Settled : public SmallRuns {
 protected:
  void write_piqa(const std::string& folder, const std::string& choice = "x") const {
    folder_.write(folder + "/piqa/validation.jsonl", R"({"goal": "g", "sol1": ")" + choice +
                                                         R"(", "sol2": "b", "label": 0})"
                                                         "\n");
  }
  std::vector<std::string> with_tasks(const std::string& tasks) const {
    return {"eval.harness.tasks=" + tasks, "eval.generator.max_gen_len=4"};
  }
};

TEST_F(Settled, WithoutSetsTrainingGoesOnWithANote) {
  const TrainingRecord record =
      train("run", with_tasks("[hellaswag, {task: nq_open, num_fewshot: 5}]"));
  EXPECT_EQ(error, "");
  EXPECT_EQ(record.losses.size(), 12U);
  EXPECT_TRUE(
      record.was_told("evaluation is left out: eval.data_dir is missing, and there are no "
                      "evaluation sets in " +
                      (folder_ / "data/eval").string()));
  EXPECT_TRUE(record.was_told("README"));
  EXPECT_FALSE(fs::exists(folder_ / "run/evals"));
  EXPECT_NE(file_bytes(folder_ / "run/config.yaml").find("hellaswag"), std::string::npos)
      << "what was asked stays in the config";
}

TEST_F(Settled, SetsBesideTheDataAreFoundAndTheOthersLeftOut) {
  write_piqa("data/eval");
  const TrainingRecord record = train("run", with_tasks("[arc_of_nowhere, piqa, hellaswag, bbh]"));
  EXPECT_EQ(error, "");
  EXPECT_TRUE(
      record.was_told("left out, because they are not here: arc_of_nowhere, bbh; there are " +
                      evaluation_tasks().front().name));
  EXPECT_TRUE(record.was_told("has no hellaswag, which is left out"));
  const std::string results = file_bytes(folder_ / "run/evals/0000000012/results.json");
  EXPECT_NE(results.find("piqa"), std::string::npos);
  EXPECT_EQ(results.find("hellaswag"), std::string::npos);
}

TEST_F(Settled, WhatCannotServeIsSaidBeforeTheFirstStep) {
  const auto refused = [&](std::vector<std::string> overrides, const std::string& part) {
    overrides.push_back("eval.data_dir=" + (folder_ / "sets").string());
    const TrainingRecord record = train("run", overrides);
    EXPECT_NE(error.find(part), std::string::npos) << error;
    EXPECT_TRUE(record.losses.empty());
    EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints"));
  };
  refused(with_tasks("[piqa]"), "piqa/validation.jsonl: missing");
  write_piqa("sets", "so long a choice that sixteen tokens cannot hold it");
  refused(with_tasks("[piqa]"), "longer than the 16 that the model reads; raise eval.max_length");
  folder_.write("sets/nq_open/validation.jsonl", "{\"question\": \"who\", \"answer\": [\"I\"]}\n");
  refused({"eval.harness.tasks=[nq_open]"},
          "lower eval.generator.max_gen_len or raise eval.max_length");
  folder_.write("sets/piqa/validation.jsonl", "{\"goal\": 3}\n");
  refused(with_tasks("[piqa]"), "validation.jsonl:1");
}

TEST_F(Settled, AnEvaluationThatIsMissingAtTheEndIsMadeUpFor) {
  write_piqa("data/eval");
  const auto overrides = with_tasks("[piqa]");
  train("run", overrides);
  EXPECT_EQ(error, "");
  const fs::path results = folder_ / "run/evals/0000000012/results.json";
  ASSERT_TRUE(fs::exists(results));
  fs::remove_all(folder_ / "run/evals");
  train("run", overrides);
  EXPECT_EQ(error, "");
  EXPECT_TRUE(fs::exists(results));
  // Once it is there, the sets are asked for no more.
  fs::remove_all(folder_ / "data/eval");
  train("run", {"eval.harness.tasks=[piqa]", "eval.data_dir=" + (folder_ / "data/eval").string()});
  EXPECT_EQ(error, "");
}

TEST_F(Settled, AloneItNeedsATaskAndAFolder) {
  const auto settled = [](const std::string& tasks) {
    EvalConfig config = parse_eval_config(
        "", "e.yaml",
        std::vector<std::string>{"ckpt_dir=x", "data_dir=y", "harness.tasks=" + tasks});
    const std::vector<std::string> notices = settle_evaluation(config);
    EXPECT_EQ(notices.size(), 1U);
    return config.harness.tasks.size();
  };
  EXPECT_EQ(settled("[mmlu, piqa, race]"), 1U);
  EXPECT_THROW(settled("[mmlu_pro]"), Error);
  EXPECT_THROW(settled("[]"), Error);
}

}  // namespace
}  // namespace memengine
