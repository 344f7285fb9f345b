// What the memory holds: the model's loss, recall and scores with parts of it silenced.
//
// A silenced layer adds nothing to the residual state. A silenced head's or row's picks have no
// weight; the other picks keep theirs. All losses are of the same tokens, so a difference is known
// far better than either loss: its standard error is that of the windows' mean differences.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/evaluation/evaluate.h"
#include "engine/memory_probe/corpus.h"
#include "engine/memory_probe/probe_model.h"

namespace memengine {

struct AblationOptions {
  CorpusOptions corpus{.data = {}, .split = {}, .split_if_any = "val", .tokens = 0};
  std::vector<std::int64_t> rows;   // silence these together, too
  std::int64_t rows_layer = -1;     // of the table that this layer reads; -1: the first
  std::string questions;            // recall questions (JSON lines), or none
  std::int64_t question_limit = 0;  // 0: all
  std::vector<std::string> tasks;   // evaluation tasks, or none
  std::string task_data;            // folder of their sets
  double task_limit = 0;            // documents a task; 0: all
};

struct AblationResult {
  std::string silenced;  // "", "layer 4", "layer 4 head 1", "2 rows"
  std::int64_t layer = -1, head = -1;
  double loss = 0;                       // nats per token
  double change = 0;                     // of the loss, from the whole model's
  double change_error = 0;               // standard error of that
  std::optional<EvalTaskResult> recall;  // without samples, like the tasks
  std::vector<EvalTaskResult> tasks;     // without samples
};

struct Ablation {
  std::string corpus;
  std::int64_t tokens = 0, windows = 0;
  std::vector<AblationResult> results;  // the whole model first
};

// What is being done: "layer 4: loss", tokens or requests done, and all.
using AblationProgress =
    std::function<void(const std::string& what, std::int64_t done, std::int64_t all)>;

// `model` generates where there are questions or tasks.
Ablation run_ablation(ProbeModel& model, const AblationOptions& options,
                      const AblationProgress& progress = {});

// Input error unless all are rows of a table: "ROW is 0 to 9,215".
void check_rows(const ProbeModel& model, const std::vector<std::int64_t>& rows);
// The place of a layer among the model's memory layers; -1: 0. Input error where it holds none.
std::size_t memory_of_layer(const ProbeModel& model, std::int64_t layer);

}  // namespace memengine
