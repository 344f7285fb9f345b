// Running evaluation tasks on a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/evaluation/corpus/token_windows.h"
#include "engine/evaluation/language_model.h"
#include "engine/evaluation/requests.h"
#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"

namespace memengine {

struct EvalTaskChoice {
  std::string name;
  int num_fewshot = 0;
  std::optional<double> limit = {};  // in place of EvalOptions'
  std::string path = {};             // of the part that is asked; empty: below data_root
  std::string title = {};            // of the results; empty: the task's name
};

// The windows of a path, for tasks of kind `loss` (token_windows.h).
using OpenWindows = std::function<std::unique_ptr<TokenWindows>(const std::string& path)>;

struct EvalOptions {
  std::vector<EvalTaskChoice> tasks;
  std::filesystem::path data_root;  // the tasks' files lie below it
  double limit = 0;                 // documents per task: 0 all, below 1 a share (rounded up)
  std::uint64_t fewshot_seed = 1234;
  std::optional<int> max_gen_tokens;  // in place of the task's own (256)
  std::string key_prefix;             // of the config's keys in messages, see EvalConfig
  OpenWindows open_windows;           // none: a task of kind `loss` is an input error
};

struct EvalMetric {
  std::string name;
  double value = 0;
  std::optional<double> standard_error;
  std::size_t count = 0;  // of what it is the mean
  bool higher_is_better = true;
  bool is_part = false;  // of one group's documents (Document::group), whose name it has
};

struct EvalTaskResult {
  Task task;
  std::size_t available = 0;  // documents, or windows; the samples are of the first of them
  int num_fewshot = 0;
  std::vector<EvalSample> samples;
  std::vector<EvalMetric> metrics;  // those of the task, in its order, then of each group
  double seconds = 0;               // from items to scores
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

// The same up to the model's first request: input errors, or nothing.
void check_requests(const EncodeText& encode, const EvalOptions& options, int max_length);

}  // namespace memengine
