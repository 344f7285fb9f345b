// The metrics, in terms of scoring.h.
#include "engine/evaluation/scoring/metrics.h"

#include <algorithm>

#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/scoring/scoring.h"

namespace memengine {
namespace {

std::vector<double> sums(const EvalSample& sample) {
  std::vector<double> sums;
  for (const Loglikelihood& answer : sample.loglikelihoods) sums.push_back(answer.sum);
  return sums;
}

double acc(const Document& document, const EvalSample& sample) {
  return predicted_choice(sums(sample)) == document.gold ? 1.0 : 0.0;
}

double acc_norm(const Document& document, const EvalSample& sample) {
  return predicted_choice_normalized(sums(sample), document.choices) == document.gold ? 1.0 : 0.0;
}

double acc_greedy(const Document&, const EvalSample& sample) {
  return sample.loglikelihoods.front().is_greedy ? 1.0 : 0.0;
}

double loglikelihood(const Document&, const EvalSample& sample) {
  return sample.loglikelihoods.front().sum;
}

double matches(const Document& document, const EvalSample& sample) {
  return exact_match(sample.answer, document.answers) ? 1.0 : 0.0;
}

// The space in front is compared after stripping: some tokenizers drop it when they decode a
// continuation alone.
double recalled(const Document& document, const EvalSample& sample) {
  if (!sample.stopped) return 0;  // it did not end where the value ends
  const auto& answers = document.answers;
  return std::any_of(answers.begin(), answers.end(),
                     [&](const auto& answer) { return python_strip(answer) == sample.answer; })
             ? 1.0
             : 0.0;
}

}  // namespace

const TaskMetric metric_acc = {"acc", "mean", true, acc, mean, standard_error};
const TaskMetric metric_acc_norm = {"acc_norm", "mean", true, acc_norm, mean, standard_error};
const TaskMetric metric_acc_greedy = {"acc", "mean", true, acc_greedy, mean, standard_error};
const TaskMetric metric_perplexity = {"perplexity",  "perplexity", false,
                                      loglikelihood, perplexity,   perplexity_standard_error};
const TaskMetric metric_exact_match = {"exact_match", "mean", true, matches, mean, standard_error};
const TaskMetric metric_recall = {"all", "mean", true, recalled, mean, standard_error};
const TaskMetric metric_loss = {"loss", "weighted mean", false};

}  // namespace memengine
