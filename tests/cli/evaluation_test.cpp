// Recall and held-out loss as tasks: of a finished model, and while it trains.
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cli/program.h"

namespace memengine {
namespace {

class EvaluationTasks : public testing::Test {
 protected:
  EvaluationTasks() {
    folder_.write("texts.jsonl", small_texts());
    folder_.write("config.yaml", small_config());
    run_well(folder_, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--validation", "0.2",
                       "--out", "data"});
    folder_.write("asked.jsonl",
                  "{\"prompt\": \"the quick\", \"answer\": \" fox\", \"attribute\": \"animal\"}\n"
                  "{\"prompt\": \"the lazy\", \"answer\": \" dog\", \"attribute\": \"animal\"}\n");
  }
  // The last line that has a key.
  double last(const std::string& path, const std::string& key) const {
    double value = NAN;
    std::istringstream lines(file_bytes(folder_ / path));
    for (std::string line; std::getline(lines, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.contains(key)) value = json[key];
    }
    return value;
  }
  TemporaryFolder folder_;
};

TEST_F(EvaluationTasks, WhileTrainingAndAfter) {
  run_well(folder_,
           {"train", "config.yaml", "steps=12", "validation.every=12", "checkpoint.eval.every=6",
            "eval.harness.tasks=[{task: recall, path: asked.jsonl}, loss, "
            "{task: loss, name: on_texts, path: texts.jsonl}]"});
  const std::string log = "run/metrics.eval.jsonl";
  const std::string lines = file_bytes(folder_ / log);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
  // Its own held-out loss, over all windows, is validation's.
  const double loss = last(log, "loss/loss");
  EXPECT_NEAR(loss, last("run/metrics.jsonl", "val/loss"), 1e-5);
  EXPECT_NEAR(last(log, "loss/perplexity"), std::exp(loss), 1e-9 * std::exp(loss));
  EXPECT_GE(last(log, "recall/all"), 0);
  EXPECT_EQ(last(log, "recall/animal"), last(log, "recall/all"));
  EXPECT_GT(last(log, "on_texts/bits_per_byte"), 0);

  // The finished model, on its own data, on shards and on texts.
  const std::string said = run_well(
      folder_, {"eval", (std::filesystem::current_path() / "configs/eval.yaml").string(),
                "ckpt_dir=run", "dump_dir=evaluated", "device=cpu",
                "harness.tasks=[loss, {task: loss, name: shards, path: data/texts}, {task: loss, "
                "name: on_texts, path: texts.jsonl}, {task: recall, path: asked.jsonl}]"});
  expect_contains(said, "bits_per_byte");
  const auto results =
      nlohmann::json::parse(file_bytes(folder_ / "evaluated/results.json"))["results"];
  EXPECT_NEAR(results["loss"]["loss,none"].get<double>(), loss, 1e-5);
  EXPECT_NEAR(results["shards"]["loss,none"].get<double>(), loss, 1e-5);
  EXPECT_NEAR(results["on_texts"]["loss,none"].get<double>(), last(log, "on_texts/loss"), 1e-5);
  EXPECT_NE(file_bytes(folder_ / "evaluated/samples_shards.jsonl").find("\"sha256\""),
            std::string::npos);
}

TEST_F(EvaluationTasks, WhatCannotServeIsSaidBeforeTheFirstStep) {
  const auto refused = [&](const std::string& tasks, const std::vector<std::string>& parts) {
    expect_refusal(folder_, {"train", "config.yaml", "steps=2", "eval.harness.tasks=" + tasks},
                   parts);
  };
  refused("[{task: recall, path: nowhere.jsonl}]", {"nowhere.jsonl"});
  refused("[{task: loss, path: nowhere}]", {"nothing at 'nowhere'"});
  refused("[loss, {task: loss, path: data/texts}]", {"loss twice", "name"});
  refused("[{task: loss, name: 'a/b'}]", {"'a/b'", "letters"});
  refused("[{task: ai2_arc, path: x.jsonl}]", {"ai2_arc is 2 tasks"});
  folder_.write("long.jsonl", "{\"prompt\": \"" + std::string(40, 'x') +
                                  "\", \"answer\": \" y\", \"attribute\": \"a\"}\n");
  folder_.write("bad.txt", "\xE9\n");
  refused("[{task: loss, path: bad.txt}]", {"bad.txt:1: not UTF-8 (byte 1 of the line)\n"});
  refused("[{task: recall, path: long.jsonl}]", {"long.jsonl:1", "reads only 33"});
}

}  // namespace
}  // namespace memengine
