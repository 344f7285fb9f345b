// Reports, comparisons and studies by the program alone, on runs that it trained.
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/cli/program.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class Reports : public testing::Test {
 protected:
  Reports() {
    folder_.write("texts.jsonl", small_texts());
    folder_.write("config.yaml", small_config());
    run_well(folder_, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--validation", "0.2",
                       "--out", "data"});
  }
  std::string bytes(const std::string& path) const { return file_bytes(folder_ / path); }
  // The training losses of a run, without what depends on the time.
  std::string losses(const std::string& run) const {
    std::string all;
    std::istringstream lines(bytes(run + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      all += nlohmann::json::parse(line).value("loss/out", nlohmann::json()).dump() + "\n";
    }
    return all;
  }
  TemporaryFolder folder_;
};

TEST_F(Reports, ARunEndsWithATableAndCommandsThatWork) {
  const std::string said = run_well(
      folder_, {"train", "config.yaml", "steps=6", "validation.every=3", "dump_dir=a run"});
  expect_contains(said, "trained           small: steps 1 to 6 of 6");
  expect_contains(said, "validation loss   ");
  expect_contains(said, "  memengine generate 'a run' --prompt");
  expect_contains(said, "  memengine report 'a run'");
  expect_contains(said, "attained ");
  expect_contains(run_well(folder_, {"report", "a run"}), "report.html");
  const std::string page = bytes("report.html");
  EXPECT_TRUE(page.starts_with("<!DOCTYPE html>"));
  expect_contains(page, "Validation loss");
  EXPECT_EQ(page.find("http:"), page.find("http://www.w3.org/"));
  const std::string csv = run_well(folder_, {"report", "a run", "--csv"});
  EXPECT_TRUE(csv.starts_with("global_step,name,created_at,loss/out,"));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 6 + 2);
}

TEST_F(Reports, ProgramsReadJsonLinesAndQuietIsQuiet) {
  const Outcome outcome =
      run_program(folder_, {"train", "config.yaml", "steps=4", "logging.freq=1", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  std::istringstream lines(outcome.out);
  std::vector<std::string> events;
  for (std::string line; std::getline(lines, line);) {
    const auto event = nlohmann::json::parse(line);
    events.push_back(event["event"]);
    if (event["event"] == "step") {
      EXPECT_GT(event["attainable_share"].get<double>(), 0);
    }
  }
  EXPECT_EQ(events.front(), "start");
  EXPECT_EQ(events.back(), "end");
  EXPECT_EQ(std::count(events.begin(), events.end(), "step"), 4);
  const Outcome quiet =
      run_program(folder_, {"train", "config.yaml", "steps=4", "dump_dir=other", "--quiet"});
  EXPECT_EQ(quiet.code, 0);
  EXPECT_EQ(quiet.out, "");
  EXPECT_EQ(losses("run"), losses("other"));
}

TEST_F(Reports, EventFilesLieBesideTheMetrics) {
  run_well(folder_,
           {"train", "config.yaml", "steps=4", "logging.tensorboard=true", "validation.every=2"});
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "run/tensorboard")) {
    ++files;
    const std::string events = file_bytes(entry.path());
    expect_contains(events, "loss/out");
    expect_contains(events, "val/pkm/picks_of_a_row");
  }
  EXPECT_EQ(files, 1);
  run_well(folder_, {"train", "config.yaml", "steps=4", "dump_dir=without"});
  EXPECT_FALSE(fs::exists(folder_ / "without/tensorboard"));
}

TEST_F(Reports, AStudyThatIsKilledGoesOnWhereItWas) {
  folder_.write("study.yaml",
                "base: config.yaml\nout: study\nset: {steps: 60, checkpoint.dump.every: 10}\n"
                "runs:\n  - {name: dense, set: {model.productkey_args.is_enabled: false}}\n"
                "  - {name: memory}\nseeds: [1, 2]\n");
  const auto is_there = [&](const std::string& path) { return fs::exists(folder_ / path); };
  {
    RunningProgram study(folder_, {"study", "study.yaml"});
    EXPECT_TRUE(study.wait_until([&] {
      return is_there("study/results/dense-seed1/result.json") &&
             is_there("study/runs/dense-seed2/checkpoints/0000000010");
    }));
    study.send(SIGKILL);
    study.finish();
  }
  EXPECT_FALSE(is_there("study/report.html"));
  fs::remove_all(folder_ / "study/runs/dense-seed1");  // a result needs no checkpoint
  const auto first = fs::last_write_time(folder_ / "study/results/dense-seed1/result.json");
  const std::string said = run_well(folder_, {"study", "study.yaml"});
  expect_contains(said, "are done already");
  expect_contains(said, "4 of 4 runs are done");
  EXPECT_EQ(fs::last_write_time(folder_ / "study/results/dense-seed1/result.json"), first);
  EXPECT_FALSE(is_there("study/runs/dense-seed1"));
  run_well(folder_, {"train", "config.yaml", "steps=60", "seed=2", "dump_dir=straight",
                     "model.productkey_args.is_enabled=false"});
  EXPECT_EQ(losses("study/results/dense-seed2"), losses("straight"));
  // Mean and error of both variants, from the small files alone.
  fs::remove_all(folder_ / "study/runs");
  const auto json =
      nlohmann::json::parse(run_well(folder_, {"compare", "study/results", "--json"}));
  ASSERT_EQ(json["runs"].size(), 2u);
  EXPECT_EQ(json["runs"][0]["name"], "dense");
  EXPECT_EQ(json["runs"][0]["figures"]["loss"]["runs"], 2);
  EXPECT_GT(json["runs"][0]["figures"]["loss"]["stderr"].get<double>(), 0);
  expect_contains(run_well(folder_, {"study", "study.yaml"}), "4 of 4 runs are done");
  EXPECT_FALSE(is_there("study/runs/memory-seed1"));
}

TEST_F(Reports, AStudyMakesItsDataAndAsksForRecall) {
  folder_.write("studies/study.yaml",
                "base: ../config.yaml\nout: study\n"
                "variables: {people: 6}\n"
                "prepare:\n  - synth --people ${people} --passages 8 --out ${out}/text\n"
                "  - prepare ${out}/text/biographies.jsonl --tokenizer bytes --out ${out}/data "
                "--overwrite\n"
                "set:\n  steps: 4\n  data.root_dir: ${out}/data\n  data.seq_len: 128\n"
                "  validation.every: 2\n  checkpoint.eval.every: 2\n"
                "  eval.harness.tasks: [{task: recall, path: '${out}/text/questions.jsonl'}]\n"
                "runs: [{name: dense, set: {model.productkey_args.is_enabled: false}}, "
                "{name: memory}]\nsmall: {variables: {people: 3}, set: {steps: 2}}\n");
  const std::string list = run_well(folder_, {"study", "studies/study.yaml", "--list"});
  expect_contains(list, "memengine synth --people 6 --passages 8 --out study/text");
  EXPECT_FALSE(fs::exists(folder_ / "study"));
  const std::string said = run_well(folder_, {"study", "studies/study.yaml"});
  expect_contains(said, "memengine synth --people 6");
  expect_contains(said, "dense: step 4/4");
  const auto result = nlohmann::json::parse(bytes("study/results/memory/result.json"));
  EXPECT_TRUE(result["evaluation"].contains("recall/all"));
  EXPECT_TRUE(result["evaluation"].contains("recall/birth_date"));
  EXPECT_EQ(result["table_parameters"], 19 * 19 * 32);
  EXPECT_GT(result["parameters"].get<int>(), 0);
  const auto evaluation = nlohmann::json::parse(bytes("study/results/dense/evaluation.json"));
  EXPECT_EQ(evaluation["n-samples"]["recall"]["effective"], 36);
  // Asked twice, so its curve is drawn; the report's table has the shares.
  expect_contains(bytes("study/report.html"), "Evaluation: recall/all");
  expect_contains(run_well(folder_, {"compare", "study/results", "--csv"}), "recall/all");

  // What is done is done, whatever happened to the data.
  fs::remove_all(folder_ / "study/data");
  expect_contains(run_well(folder_, {"study", "studies/study.yaml"}), "2 of 2 runs are done");
  // On another machine: the results alone, carried there. A stranger's folder is refused still.
  const TemporaryFolder other;
  other.write("config.yaml", bytes("config.yaml"));
  other.write("studies/study.yaml", bytes("studies/study.yaml"));
  other.write("study/results/mine/text", "mine");
  const auto recursive = fs::copy_options::recursive;
  fs::copy(folder_ / "study/results", other / "study/results", recursive);
  const Outcome refused = run_program(other, {"study", "studies/study.yaml"});
  EXPECT_EQ(refused.code, 2);
  expect_contains(refused.error, "is not the folder of a study");
  fs::remove_all(other / "study/results/mine");
  expect_contains(run_well(other, {"study", "studies/study.yaml"}), "2 of 2 runs are done");
  EXPECT_FALSE(fs::exists(other / "study/data"));
  // Other data: made again, and all trained again, from nothing.
  const std::string others = run_well(folder_, {"study", "studies/study.yaml", "people=7"});
  expect_contains(others, "memengine synth --people 7");
  expect_contains(others, "memory: step 4/4");
  const auto again = nlohmann::json::parse(bytes("study/results/dense/evaluation.json"));
  EXPECT_EQ(again["n-samples"]["recall"]["effective"], 42);
  // The same data, another config: only trained again, not gone on with.
  const std::string longer =
      run_well(folder_, {"study", "studies/study.yaml", "people=7", "steps=3"});
  EXPECT_EQ(longer.find("memengine synth"), std::string::npos) << longer;
  EXPECT_EQ(nlohmann::json::parse(bytes("study/results/memory/result.json"))["steps"], 3);
  run_well(folder_, {"study", "studies/study.yaml", "--small"});
  EXPECT_EQ(nlohmann::json::parse(bytes("study_small/results/memory/result.json"))["steps"], 2);
}

TEST_F(Reports, DataThatCannotBeMadeAreOneLine) {
  folder_.write("study.yaml",
                "base: config.yaml\nout: study\nprepare: ['prepare nowhere --out x']\n");
  const Outcome outcome = run_program(folder_, {"study", "study.yaml"});
  EXPECT_EQ(outcome.code, 2);
  expect_contains(outcome.error, "`memengine prepare nowhere --out x` failed with code 2: ");
  expect_contains(outcome.error, "nowhere");
  EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  // What a command had printed may come into its log after the reason why it failed.
  folder_.write("vocab.yaml",
                "base: config.yaml\nout: vocab\nprepare: ['synth --people 5 --vocab 3 --out x']\n");
  expect_contains(run_program(folder_, {"study", "vocab.yaml"}).error, "a vocabulary of 3");
  expect_refusal(folder_, {"study", "vocab.yaml", "--list", "--seeds", "1,2,2"},
                 {"--seeds: 2 is there twice"});
}

TEST_F(Reports, ARunThatFailsDoesNotStopAStudy) {
  folder_.write("study.yaml",
                "base: config.yaml\nout: study\nset: {steps: 3}\nruns:\n"
                "  - {name: bad, set: {data.root_dir: nowhere}}\n  - {name: good}\n");
  const Outcome outcome = run_program(folder_, {"study", "study.yaml"});
  EXPECT_EQ(outcome.code, 1);
  expect_contains(outcome.out, "bad FAILED with code 2: memengine: ");
  expect_contains(outcome.out, "1 of 2 runs are done");
  expect_contains(outcome.error, "1 of 2 runs failed");
}

TEST_F(Reports, WhatIsWrongIsSaid) {
  expect_refusal(folder_, {"report", "data"}, {"data", "no metrics.jsonl"});
  expect_refusal(folder_, {"compare", "nowhere"}, {"nowhere", "no such run"});
  run_well(folder_, {"train", "config.yaml", "steps=1"});
  expect_refusal(folder_, {"report", "run", "-o", "config.yaml"}, {"config.yaml", "no HTML page"});
  EXPECT_EQ(bytes("config.yaml"), small_config());
  expect_refusal(folder_, {"study", "config.yaml"}, {"config.yaml is the config of a run"});
}

}  // namespace
}  // namespace memengine
