// What a study's YAML means: which runs, with which names and configs.
#include <gtest/gtest.h>

#include <fstream>

#include "engine/study/study.h"
#include "kernels/runtime/error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

class StudyFile : public ::testing::Test {
 protected:
  Study load(const std::string& yaml) {
    std::ofstream(folder_ / "base.yaml")
        << "name: b\ndump_dir: d\nsteps: 10\nseed: 7\n"
           "model: {dim: 32, n_layers: 1, n_heads: 2, vocab_size: 100}\n"
           "data: {root_dir: x, sources: {a: 1}}\n";
    std::ofstream(folder_ / "study.yaml") << yaml;
    return load_study(folder_ / "study.yaml");
  }
  std::string refusal(const std::string& yaml) {
    try {
      load(yaml);
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
}

}  // namespace
}  // namespace memengine
