// Evaluation results in words and files: a table, results.json, samples_<task>.jsonl.
//
// The files have the schema of lm-evaluation-harness 0.4.13, so its users' scripts read them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/evaluation/evaluate.h"
#include "io/tokenizers/tokenizer.h"

namespace memengine {

// What results.json says about the run, beside the scores.
struct EvalRunDescription {
  std::string model_name;       // as the user knows it: the checkpoint's path
  std::string model_arguments;  // "key=value,..."
  std::string device;           // "cpu", "cuda"
  std::string dtype;            // "fp32", "bf16"
  SpecialToken bos, eos;        // of the tokenizer; id -1: it has none
  int max_length = 0;           // tokens
  std::int64_t parameters = 0;  // value rows included
  double limit = 0;             // as in EvalOptions
  std::uint64_t fewshot_seed = 1234;
  double start_time = 0;     // seconds since 1970
  double total_seconds = 0;  // loading included
};

// task, metric, value ± standard error, shots (and the split they come from), items, time.
std::string eval_table(const std::vector<EvalTaskResult>& results);

// One JSON object, indented, with a newline at its end.
std::string eval_results_json(const std::vector<EvalTaskResult>& results,
                              const EvalRunDescription& run);

// The harness's hash of everything that was asked and the answers it was compared with: two runs
// with the same hash had the same documents, prompts and targets.
std::string task_hash(const EvalTaskResult& result);

// One JSON object per line and document.
std::string eval_samples_jsonl(const EvalTaskResult& result);

// Writes <folder>/results.json and, when `with_samples`, <folder>/samples_<task>.jsonl, replacing
// what is there. The folder is made. Input error when a file cannot be written.
void write_eval_files(const std::filesystem::path& folder,
                      const std::vector<EvalTaskResult>& results, const EvalRunDescription& run,
                      bool with_samples);

}  // namespace memengine
