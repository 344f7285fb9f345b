// Comparing with the recorded answers.
#include "tests/engine/evaluation/tasks/harness_answers.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/evaluation/evaluation.h"
#include "kernels/runtime/error.h"
#include "tests/data.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

fs::path sets() {
  return fs::path(MEMENGINE_SOURCE_DIR) / "tests/engine/evaluation/harness";
}

EvalTaskResult ask(const std::string& task, int shots) {
  EvalConfig config;
  config.data_dir = sets().string();
  config.generator.dtype = EvalDtype::fp32;
  config.generator.max_tokens = 2048;
  config.harness.tasks = {{task, shots, {}}};
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const ModelSource source = find_model(test_data_folder() / "checkpoints/stories260K/hf");
  Evaluation evaluation = run_evaluation(config, source, Device::cpu);
  omp_set_num_threads(threads);
  return std::move(evaluation.results.front());
}

void expect_answers(const EvalTaskResult& result, const nlohmann::json& theirs) {
  EXPECT_EQ(task_hash(result), theirs.at("task_hash").get<std::string>());
  const auto& responses = theirs.at("resps");
  ASSERT_EQ(result.samples.size(), responses.size());
  for (std::size_t i = 0; i < responses.size(); ++i) {
    const EvalSample& sample = result.samples[i];
    ASSERT_EQ(sample.loglikelihoods.size(), responses[i].size()) << i;
    for (std::size_t c = 0; c < responses[i].size(); ++c) {
      EXPECT_NEAR(sample.loglikelihoods[c].sum, responses[i][c][0].get<double>(), 4e-5) << i;
      EXPECT_EQ(sample.loglikelihoods[c].is_greedy, responses[i][c][1] == 1) << i;
    }
  }
  ASSERT_EQ(result.metrics.size() * 2, theirs.at("metrics").size());
  for (std::size_t m = 0; m < result.metrics.size(); ++m) {
    const EvalMetric& metric = result.metrics[m];
    for (std::size_t i = 0; i < result.samples.size(); ++i) {
      EXPECT_NEAR(result.samples[i].scores[m], theirs.at("scores").at(metric.name)[i].get<double>(),
                  4e-5)
          << metric.name << " " << i;
    }
    // Means of zeros and ones are the same to the last digit; a perplexity is as near as its
    // log-likelihoods.
    const double near = metric.name == "perplexity" ? 1e-5 : 1e-15;
    const double value = theirs.at("metrics").at(metric.name);
    const double error = theirs.at("metrics").at(metric.name + "_stderr");
    EXPECT_NEAR(metric.value, value, near * value) << metric.name;
    EXPECT_NEAR(*metric.standard_error, error, near * error) << metric.name;
  }
}

}  // namespace

Task harness_task(const std::string& task) {
  return load_task(task, sets(), true);
}

std::vector<std::string> harness_lines(const std::string& task, const std::string& file) {
  std::ifstream in(sets() / task / file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

void expect_the_harness_answers(const std::string& task, const std::vector<int>& shots) {
  for (const int count : shots) {
    SCOPED_TRACE(task + " with " + std::to_string(count) + " shots");
    std::ifstream in(sets() / task / ("answers_" + std::to_string(count) + ".json"));
    expect_answers(ask(task, count), nlohmann::json::parse(in));
  }
}

void expect_the_same_documents(const std::string& task, const std::string& file,
                               const std::vector<std::string>& lines) {
  const TemporaryFolder folder;
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  folder.write(file, text);
  const Task ours = load_task(task, folder.path(), false), theirs = harness_task(task);
  ASSERT_EQ(ours.documents.size(), theirs.documents.size());
  for (std::size_t i = 0; i < ours.documents.size(); ++i) {
    const Document &a = ours.documents[i], &b = theirs.documents[i];
    EXPECT_EQ(a.question, b.question);
    EXPECT_EQ(a.questions, b.questions);
    EXPECT_EQ(a.choices, b.choices);
    EXPECT_EQ(a.gold, b.gold);
    EXPECT_EQ(a.target, b.target);
    EXPECT_EQ(a.record, b.record);
  }
}

std::string record_error(const std::string& task, const std::string& file,
                         const std::string& record) {
  const TemporaryFolder folder;
  folder.write(file, "\n" + record + "\n");
  try {
    load_task(task, folder.path(), false);
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.kind(), Error::Kind::input);
    EXPECT_NE(text.find(file + ":2: "), text.npos) << text;
    return text;
  }
  ADD_FAILURE() << "no error: " << record;
  return {};
}

}  // namespace memengine
