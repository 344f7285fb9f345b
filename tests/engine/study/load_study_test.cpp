// What a study's YAML means: which runs, with which names and configs.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/config/config.h"
#include "engine/study/run_process.h"
#include "engine/study/study.h"
#include "kernels/runtime/error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

class StudyFile : public ::testing::Test {
 protected:
  Study load(const std::string& yaml, const StudyChanges& changes = {}) {
    std::ofstream(folder_ / "base.yaml")
        << "name: b\ndump_dir: d\nsteps: 10\nseed: 7\n"
           "model: {dim: 32, n_layers: 1, n_heads: 2, vocab_size: 100}\n"
           "data: {root_dir: x, sources: {a: 1}}\n";
    std::ofstream(folder_ / "study.yaml") << yaml;
    return load_study(folder_ / "study.yaml", changes);
  }
  std::string refusal(const std::string& yaml, const StudyChanges& changes = {}) {
    try {
      load(yaml, changes);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::input);
      return error.what();
    }
    return "";
  }
  std::string out() { return "out: " + (folder_ / "out").string() + "\n"; }
  TemporaryFolder folder_;
};

TEST_F(StudyFile, VariantsTimesGridTimesSeeds) {
  const Study study = load("base: base.yaml\n" + out() +
                           "set: {steps: 20}\n"
                           "runs:\n  - {name: a}\n  - {name: b, set: {optim.clip: 0.5}}\n"
                           "grid: {optim.lr: [1e-3, 2e-3], optim.warmup: [1, 2, 3]}\n"
                           "seeds: [1, 2]\n");
  ASSERT_EQ(study.runs.size(), 24u);
  EXPECT_EQ(study.runs[0].name, "a-lr=1e-3-warmup=1-seed1");
  EXPECT_EQ(study.runs[23].name, "b-lr=2e-3-warmup=3-seed2");
  EXPECT_NE(study.runs[23].config.find("steps: 20"), std::string::npos);
  EXPECT_NE(study.runs[23].config.find("clip: 0.5"), std::string::npos);
  EXPECT_NE(study.runs[23].config.find("warmup: 3"), std::string::npos);
  EXPECT_NE(study.runs[23].config.find("out/runs/b-lr=2e-3-warmup=3-seed2"), std::string::npos);
  EXPECT_FALSE(study_run_is_done(study, study.runs[0]));
}

TEST_F(StudyFile, WithoutVariantsThereIsOneRun) {
  const Study study = load("base: base.yaml\n" + out());
  ASSERT_EQ(study.runs.size(), 1u);
  EXPECT_EQ(study.runs[0].name, "base");
  EXPECT_NE(study.runs[0].config.find("seed: 7"), std::string::npos);
}

TEST_F(StudyFile, NamesAreSafeFolders) {
  const Study study =
      load("base: base.yaml\n" + out() + "runs:\n  - {name: '../../x y'}\n  - {name: 'é/..'}\n");
  for (const StudyRun& run : study.runs) {
    EXPECT_EQ(run.name.find('/'), std::string::npos);
    EXPECT_NE(run.name[0], '.');
  }
}

TEST_F(StudyFile, ADoneRunIsOneOfTheSameConfig) {
  const Study study = load("base: base.yaml\n" + out());
  const auto folder = study.out / "results/base";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "result.json") << "{\"config\": \"another\"}";
  EXPECT_FALSE(study_run_is_done(study, study.runs[0]));
  std::ofstream(folder / "result.json") << "[";
  EXPECT_FALSE(study_run_is_done(study, study.runs[0]));
}

TEST_F(StudyFile, WhatIsWrongIsSaidWithItsPlace) {
  EXPECT_NE(refusal(out()).find("base is missing"), std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n").find("out is missing"), std::string::npos);
  EXPECT_NE(refusal("base: nowhere.yaml\n" + out()).find("there is no nowhere.yaml"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "seeds: []\n").find("seeds is an empty list"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "grid: {optim.lr: []}\n")
                .find("study.yaml:3: grid.optim.lr is an empty list"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "seed: [1]\n").find("the nearest is 'seeds'"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "grid: {optim.lr: 1}\n").find("list of values"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "grid: {optim.lrr: [1]}\n").find("optim.lr"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "runs: [{name: a}, {name: a}]\n")
                .find("two runs are named 'a'"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "set: {dump_dir: x}\n").find("name and folder"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "prepare: ['']\n").find("an empty command"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "set: {seed: '${sed}'}\n")
                .find("study.yaml:3: no variable 'sed'"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out() + "runs: []\n").find("a list of variants"),
            std::string::npos);
  EXPECT_NE(refusal("base: base.yaml\n" + out(), {.small = true}).find("no small form"),
            std::string::npos);
  EXPECT_NE(
      refusal("base: base.yaml\nseeds: [1]\n" + out(), {.overrides = {"seed=3"}}).find("itself"),
      std::string::npos);
}

constexpr const char* with_everything =
    "base: base.yaml\n"
    "variables: {people: 300, where: a b}\n"
    "prepare:\n  - synth --people ${people} --out ${out}/text\n"
    "  - [prepare, '${where}/x.jsonl', --out, '${out}/data']\n"
    "set:\n  data.root_dir: ${out}/${where}\n  steps: ${people}\n"
    "  eval.harness.tasks: [{task: recall, path: '${out}/q, r.jsonl'}, loss]\n"
    "seeds: [1, 2]\n"
    "small: {variables: {people: 9}, set: {optim.warmup: 3}, seeds: [5]}\n";

TEST_F(StudyFile, VariablesStandForTheirValues) {
  const Study study = load(with_everything + out());
  const std::string folder = (folder_ / "out").string();
  ASSERT_EQ(study.prepare.size(), 2u);
  EXPECT_EQ(study.prepare[0],
            (std::vector<std::string>{"synth", "--people", "300", "--out", folder + "/text"}));
  EXPECT_EQ(study.prepare[1],
            (std::vector<std::string>{"prepare", "a b/x.jsonl", "--out", folder + "/data"}));
  ASSERT_EQ(study.runs.size(), 2u);
  const RunConfig config = load_run_config(study.base.string(), study.runs[0].overrides);
  EXPECT_EQ(config.data.root_dir, folder + "/a b");
  EXPECT_EQ(config.steps, 300);
  ASSERT_EQ(config.eval->harness.tasks.size(), 2u);
  EXPECT_EQ(config.eval->harness.tasks[0].path, folder + "/q, r.jsonl");
  EXPECT_EQ(config.eval->harness.tasks[1].task, "loss");
}

TEST_F(StudyFile, AMisspeltVariableIsNamedWhereverItStands) {
  const auto study = [&](const std::string& rest) {
    return "base: base.yaml\nvariables: {people: 30, passages: 2}\n"
           "prepare: ['synth --people ${people} --passages ${passages}']\n" +
           out() + rest;
  };
  const auto says = [&](const std::string& rest, const std::vector<std::string>& overrides,
                        const std::string& words) {
    const std::string said = refusal(study(rest), {.overrides = overrides});
    EXPECT_NE(said.find(words), std::string::npos) << said;
  };
  EXPECT_EQ(load(study("")).runs.size(), 1u);
  says("", {"peple=3"},
       "override peple=3: the study has no variable 'peple'; did you mean 'people'");
  says("", {"passage=3"}, "did you mean 'passages'");
  says("", {"variables.peple=3"}, "no variable 'variables.peple'; did you mean 'people'?");
  says("", {"data.people=3"}, "no variable 'data.people'; did you mean 'people'?");
  says("", {"data.sources.people.x=3"}, "override data.sources.people.x=3");
  says("", {"people"}, "override people: give the variable a value: people=...");
  says("", {"batch_size=3"}, "unknown key 'batch_size'; did you mean 'data.batch_size'?");
  says("", {"stepps=3"}, "unknown key 'stepps'; did you mean 'steps'?");
  says("", {"wombats=3"}, "none is like it; the variables are out, passages, people");
  says("", {"optim.lrr=3"}, "did you mean 'optim.lr'?");
  says("set: {steps: '${peple}'}\n", {},
       "study.yaml:5: no variable 'peple'; did you mean 'people'?");
  says("set: {steps: '${wombats}'}\n", {},
       "no variable 'wombats'; there are out, passages, people");
  says("small: {variables: {peple: 3}}\n", {},
       "small.variables.peple: nothing in the study uses ${peple}; did you mean 'people'?");
  EXPECT_NE(refusal("base: base.yaml\nvariables: {stps: 3}\nset: {steps: '${steps}'}\n" + out())
                .find("variables.stps: nothing in the study uses ${stps}; did you mean 'steps'?"),
            std::string::npos);
  // A variable of the small form alone is one.
  EXPECT_EQ(load(study("small: {variables: {n: 3}, set: {steps: '${n}'}}\n"), {.small = true})
                .runs.size(),
            1u);
}

TEST_F(StudyFile, TheUserHasTheLastWord) {
  StudyChanges changes;
  changes.overrides = {"people=77", "optim.lr=0.5"};
  changes.first_seed_only = true;
  changes.out = folder_ / "elsewhere";
  const Study study = load(with_everything + out(), changes);
  ASSERT_EQ(study.runs.size(), 1u);
  const RunConfig config = load_run_config(study.base.string(), study.runs[0].overrides);
  EXPECT_EQ(config.steps, 77);
  EXPECT_EQ(config.optim.lr, 0.5);
  EXPECT_EQ(config.dump_dir, (folder_ / "elsewhere/runs/seed1").string());
  EXPECT_EQ(study.prepare[0][2], "77");
  const Study more = load(with_everything + out(), {.seeds = {"8", "9", "10"}});
  ASSERT_EQ(more.runs.size(), 3u);
  EXPECT_EQ(more.runs[2].name, "seed10");
}

TEST_F(StudyFile, TheSmallFormIsAnotherStudyInAnotherFolder) {
  const Study study = load(with_everything + out(), {.small = true});
  EXPECT_EQ(study.out, folder_ / "out_small");
  ASSERT_EQ(study.runs.size(), 1u);
  const RunConfig config = load_run_config(study.base.string(), study.runs[0].overrides);
  EXPECT_EQ(config.steps, 9);
  EXPECT_EQ(config.optim.warmup, 3);
  EXPECT_EQ(config.data.root_dir, (folder_ / "out_small/a b").string());
  EXPECT_EQ(config.seed, 5);
}

TEST_F(StudyFile, OtherDataAreAnotherRun) {
  const Study study = load(with_everything + out());
  const auto folder = study.out / "results" / study.runs[0].name;
  std::filesystem::create_directories(folder);
  const auto write = [&](const nlohmann::json& json) {
    std::ofstream(folder / "result.json") << json;
  };
  write({{"config", study.runs[0].config}, {"prepare", study.prepare}});
  EXPECT_TRUE(study_run_is_done(study, study.runs[0]));
  auto prepare = study.prepare;
  prepare[0][2] = "301";
  write({{"config", study.runs[0].config}, {"prepare", prepare}});
  EXPECT_FALSE(study_run_is_done(study, study.runs[0]));
  write({{"config", study.runs[0].config}});
  EXPECT_FALSE(study_run_is_done(study, study.runs[0]));
}

// The environment that a run gets, as a program sees it.
TEST(RunProcessOfAStudy, SeesItsOwnGpuAlone) {
  const TemporaryFolder folder;
  ::setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3", 1);
  const auto visible = [&](const std::string& gpu) {
    const auto out = folder / "out", errors = folder / "errors";
    RunProcess process("/usr/bin/env", {}, out, errors, gpu);
    while (!process.ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(process.code(), 0);
    std::string found;
    std::ifstream lines(out);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("CUDA_VISIBLE_DEVICES=")) found += line.substr(21) + ";";
    }
    return found;
  };
  EXPECT_EQ(visible("3"), "3;");
  EXPECT_EQ(visible(""), "0,1,2,3;");
  ::unsetenv("CUDA_VISIBLE_DEVICES");
  EXPECT_EQ(visible("1"), "1;");
}

}  // namespace
}  // namespace memengine
