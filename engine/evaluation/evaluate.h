// Running evaluation tasks on a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/evaluation/language_model.h"
#include "engine/evaluation/requests.h"
#include "engine/evaluation/task.h"

namespace memengine {

struct EvalTaskChoice {
  std::string name;
  int num_fewshot = 0;
};

struct EvalOptions {
  std::vector<EvalTaskChoice> tasks;
  std::filesystem::path data_root;  // has one folder a task: see load_task
  double limit = 0;                 // documents a task: 0 all, below 1 a share (rounded up)
  std::uint64_t fewshot_seed = 1234;
  std::optional<int> max_gen_tokens;  // in place of the task's own (256)
};

struct EvalSample {
  std::size_t document = 0;  // position in the validation split
  std::string context;
  std::vector<Loglikelihood> loglikelihoods;  // multiple choice: one a choice
  std::string generated;                      // generation: up to the stop string
  std::string answer;                         // generation: as it was scored
  std::vector<double> scores;                 // one a metric of the task, 0 or 1
};

struct EvalMetric {
  std::string name;
  double value = 0;
  std::optional<double> standard_error;
};

struct EvalTaskResult {
  Task task;
  int num_fewshot = 0;
  std::vector<EvalSample> samples;
  std::vector<EvalMetric> metrics;
  double seconds = 0;  // from items to scores
};

// Which task is running, and how many of its requests are done.
using EvalTaskProgress =
    std::function<void(const std::string& task, std::size_t done, std::size_t total)>;

// Runs every task. All files are read and checked, and all items tokenized, before the model is
// first asked. Input errors as in task.h and requests.h; a model that answers with a wrong number
// of results is an internal one.
std::vector<EvalTaskResult> evaluate(LanguageModel& model, const EncodeText& encode,
                                     const EvalOptions& options,
                                     const EvalTaskProgress& progress = {});

}  // namespace memengine
