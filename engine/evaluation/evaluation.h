// An evaluation from config to results: load the model, run the tasks, write the files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/config/memory_plan.h"
#include "engine/evaluation/evaluate.h"
#include "engine/evaluation/report.h"
#include "engine/model_files/model_source.h"
#include "io/files/output_folder.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/context.h"

namespace memengine {

struct Evaluation {
  std::vector<EvalTaskResult> results;
  EvalRunDescription run;
};

// The tasks of a config, each with its settings, a group's name replaced by its members. Input
// errors: none, an unknown one, one twice.
std::vector<EvalTask> asked_tasks(const EvalConfig& config);

// Whether its set is looked for below data_dir.
bool needs_data_dir(const EvalTask& task);

// Input error, without a look at the model or the sets: no tasks, an unknown task, no data_dir that
// one needs.
// (engine/run/settle_evaluation.h settles what a config leaves open.)
void check_evaluation(const EvalConfig& config);

// Reads and tokenizes every item that would be asked of a model with this tokenizer, trained on
// this data. Input errors: a set that is missing or damaged, an item longer than such a model
// reads.
void check_items(const EvalConfig& config, const Tokenizer& tokenizer, const DataConfig& data,
                 const ModelConfig& model);

// Makes config.dump_dir and finds out whether it can be written to: input error if not. Where the
// results of another evaluation lie there, write_evaluation() moves them into a folder of their
// own: a sentence about that, or "".
std::string open_results(const EvalConfig& config);

// The memory that an evaluation of such a model takes; nothing is allocated.
MemoryPlan evaluation_plan(const EvalConfig& config, const ModelConfig& model, Device device);

// Evaluates `source` on the tasks of `config`, all other keys as in EvalConfig. Passes have
// generator.max_tokens rows, or as many as one text of the model's longest needs. Input errors: no
// tasks, no data_dir, whatever model, tokenizer and tasks refuse, a plan that does not fit. With
// `ranks` all of them call it together, each with the whole model: requests are dealt out among
// them, all get the same results, and where one cannot take the model none does.
Evaluation run_evaluation(const EvalConfig& config, const ModelSource& source, Device device,
                          const EvalTaskProgress& progress = {}, Communicator* ranks = nullptr);

// Takes config.dump_dir for an evaluation, before the work starts (io/files/output_folder.h).
OutputFolder open_evaluation_folder(const EvalConfig& config);

// Writes results.json and the samples into config.dump_dir, where those of an earlier evaluation
// move to earlier/<n>, and, when config.metric_log_dir is given, appends to metrics.eval.jsonl
// there. Whoever calls holds open_evaluation_folder.
void write_evaluation(const EvalConfig& config, const Evaluation& evaluation, std::int64_t step);

// Appends one line {global_step, "<task>/<metric>", "<task>/<metric>_stderr", ...} to
// <folder>/metrics.eval.jsonl; lines of this and later steps, left by a run that was killed, go.
void append_eval_metrics(const std::filesystem::path& folder, const Evaluation& evaluation,
                         std::int64_t step);

// Evaluation while training: runs config.eval on a checkpoint that the run has just saved, beside
// the model in training. `config` is config.eval as settled.
Evaluation evaluate_during_training(const EvalConfig& config,
                                    const std::filesystem::path& checkpoint, Device device,
                                    const EvalTaskProgress& progress = {},
                                    Communicator* ranks = nullptr);
// Its results, in place of what a killed run left there: <dump_dir>/evals/<step>, and a line of
// <dump_dir>/metrics.eval.jsonl.
void write_training_evaluation(const RunConfig& config, const Evaluation& evaluation,
                               std::int64_t step);
std::filesystem::path training_results(const RunConfig& config, std::int64_t step);  // .json

}  // namespace memengine
