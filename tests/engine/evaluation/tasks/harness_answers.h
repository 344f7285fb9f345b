// Evaluation tasks against recorded answers of lm-evaluation-harness.
//
// tests/engine/evaluation/harness/<task>/ has a small set of our own in the fields of the task's
// data set, and answers_<shots>.json: what lm_eval 0.4.13 answered on it with its own task code,
// its data loading pointed at these files, the model stories260K in float64, batch size 1
// (transformers 5.24.0, PyTorch 2.15.0, Python 3.11, whose sums are not compensated). The model's
// folder has no tokenizer_config.json, and transformers then leaves BOS out; it was given one with
// LlamaTokenizer and add_bos_token, so that the ids are SentencePiece's after a BOS.
#pragma once

#include <string>
#include <vector>

#include "engine/evaluation/task.h"

namespace memengine {

// The set's documents, its training part included.
Task harness_task(const std::string& task);
// The lines of one of its files.
std::vector<std::string> harness_lines(const std::string& task, const std::string& file);

// Asks the set of stories260K with each number of shots: log-likelihoods (within 4e-5), which
// answers are greedy, every score, the metrics with their standard errors, and the hash over all
// documents, prompts and targets must be the harness's.
void expect_the_harness_answers(const std::string& task, const std::vector<int>& shots);

// The documents of `lines`, loaded from `file` below an empty data folder (the set's original form,
// under its original name), must be those of the set.
void expect_the_same_documents(const std::string& task, const std::string& file,
                               const std::vector<std::string>& lines);

// Loads one record and returns the input error's text; a failure when there is none, or it does not
// begin with file and line.
std::string record_error(const std::string& task, const std::string& file,
                         const std::string& record);

}  // namespace memengine
