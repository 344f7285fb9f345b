// Metrics: what one answer scores, and what the scores of a task come to.
//
// A task names the metrics that it gives; each is an object here that knows its own mean and its
// own standard error. The names and rules are lm-evaluation-harness's.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/evaluation/language_model.h"
#include "engine/evaluation/task.h"

namespace memengine {

// What a model answered about one document.
struct EvalSample {
  std::size_t document = 0;  // position in the part of the set that is asked
  std::vector<std::string>
      contexts;  // one; or one per choice, where choices stand inside questions
  std::vector<Loglikelihood> loglikelihoods;  // one per choice
  std::string generated;                      // generation: up to the stop string
  std::string answer;                         // generation: as it was scored
  bool stopped = false;                       // generation: a stop string ended it
  std::vector<double> scores;                 // one a metric of the task
};

struct TaskMetric {
  std::string name;
  std::string aggregation;  // of the scores to the task's value
  bool higher_is_better = true;
  double (*score)(const Document&, const EvalSample&) = nullptr;
  double (*value)(std::span<const double> scores) = nullptr;
  // None for fewer than two scores.
  std::optional<double> (*standard_error)(std::span<const double> scores) = nullptr;
};

extern const TaskMetric metric_acc;       // the most likely choice is the right one
extern const TaskMetric metric_acc_norm;  // the same, of log-likelihoods a character
extern const TaskMetric
    metric_acc_greedy;  // "acc" of a continuation: every token the most likely one
extern const TaskMetric metric_perplexity;   // e to minus the mean log-likelihood of a continuation
extern const TaskMetric metric_exact_match;  // the generated text is an accepted answer
extern const TaskMetric metric_recall;       // "all": it is, to the letter, and ends there
extern const TaskMetric metric_loss;  // a window's mean; engine/evaluation/corpus/ makes the scores

}  // namespace memengine
