// The demo: how many facts does a dense model store, and how many a memory model of the same cost?
// Where there is a GPU, how many does a dense model store that trains for as many seconds, too?
//
// It is the first seed of a study (configs/studies/demo.yaml, demo_gpu.yaml), told in words: what
// each run's small result files say (engine/study/study.h), with the facts that it recalls
// (engine/evaluation/tasks/recall.cpp).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/study/study.h"

namespace memengine {

struct DemoScore {
  std::string attribute;  // "birth_date"; of all of them "all"
  double share = 0;       // recalled
};

struct DemoModel {
  std::string name;  // "dense", "memory"
  std::int64_t flops_per_token = 0;
  std::int64_t parameters = 0;  // dense
  std::int64_t table_parameters = 0;
  double loss = 0;               // nats per token, on held-out passages about the same people; NaN
                                 // where it was not measured
  double tokens_per_second = 0;  // training
  double seconds = 0;            // of training
  std::int64_t tokens = 0;       // trained on
  std::int64_t rows = 0;         // of the value tables
  double rows_used = 0;          // of those, picked at least once on the held-out passages; NaN
  std::int64_t asked = 0;        // questions
  std::int64_t there = 0;        // of which these are the first
  DemoScore all;
  std::vector<DemoScore> by_attribute;
  std::map<std::string, std::string>
      completions;  // by prompt; empty where its run's folder is gone

  double recalled() const { return all.share * static_cast<double>(asked); }
};

struct DemoQuestion {
  std::string prompt, answer;
};

struct DemoResult {
  std::vector<DemoModel> models;        // in the study's order
  std::vector<DemoQuestion> questions;  // those that all models answered; as `completions`
};

// Reads what a finished study keeps. Input error: a run that is not done, or did not evaluate the
// task `recall`.
DemoResult read_demo(const Study& study);

// One table: cost, size, loss, facts recalled per attribute and in all, speed, rows used.
std::string demo_table(const DemoResult& result);
// What the table shows, in sentences that depend on it: the first model without tables against the
// first with some by FLOPs, further ones without by seconds; "" unless there are both kinds.
std::string demo_verdict(const DemoResult& result);
// Some questions with the right answer and every model's completion.
std::string demo_completions(const DemoResult& result, std::size_t count);

}  // namespace memengine
