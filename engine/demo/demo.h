// The demo: how many facts does a dense model store, and how many a memory model of the same cost?
//
// Stages: write the biographies and the questions about them (io/synthetic/biographies.h), train a
// tokenizer, prepare shards; train both models on the same tokens in the same order, from one
// config; ask each every question (engine/evaluation/recall.h). The dense twin is the config
// without its memory.
//
// The folder holds data/, dense/ and memory/ (two ordinary runs) and demo.state, which says what
// they were made from. A demo that was stopped goes on where it was; one that is finished, or was
// made from other settings, starts again from nothing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/evaluation/recall.h"
#include "engine/training/training_listener.h"

namespace memengine {

struct DemoOptions {
  std::filesystem::path config = "configs/demo.yaml";
  std::filesystem::path out = "runs/demo";
  std::int64_t people = 300;
  int passages = 40;
  int vocabulary = 1024;
  std::vector<std::string> overrides;  // of the config, a.b.c=value, for both models
};

struct DemoModel {
  std::string name;  // "dense", "memory"
  std::int64_t flops_per_token = 0;
  std::int64_t parameters = 0;  // dense
  std::int64_t value_parameters = 0;
  double loss = 0;               // nats per token, on held-out passages about the same people
  double tokens_per_second = 0;  // training; 0: trained before this session
  double train_seconds = 0;      // in this session
  std::int64_t rows = 0;         // of the value tables
  std::int64_t rows_used = 0;    // of those, picked at least once on the held-out passages
  RecallResult recall;
};

struct DemoCorpus {
  std::int64_t people = 0, passages = 0;
  std::int64_t train_tokens = 0, held_out_tokens = 0;
  std::int64_t vocabulary = 0;  // the tokenizer's
  std::string example;          // a passage
  std::vector<RecallItem> questions;
};

struct DemoResult {
  bool stopped = false;  // the same call goes on; nothing else here is complete
  DemoCorpus corpus;
  std::int64_t trained_tokens = 0;  // by each model
  DemoModel dense, memory;
};

// What the demo tells while it works. Its trainers tell the inherited part.
class DemoListener : public TrainingListener {
 public:
  // A stage begins: "corpus", "train dense", ...
  virtual void stage(const std::string& /*title*/) {}
  // The stage's work so far, often.
  virtual void progress(const std::string& /*line*/) {}
  // A stage's result.
  virtual void said(const std::string& /*line*/) {}
};

// Input errors: what the config, corpus and trainer refuse; a config without memory; a folder whose
// contents are not a demo's.
DemoResult run_demo(const DemoOptions& options, DemoListener& listener,
                    const std::function<bool()>& stop);

// One table: cost, size, loss, facts recalled per attribute and in all, speed, rows used.
std::string demo_table(const DemoResult& result);
// What the table shows, in sentences that depend on it.
std::string demo_verdict(const DemoResult& result);
// Some questions with the right answer and both models' completions.
std::string demo_completions(const DemoResult& result, std::size_t count);

}  // namespace memengine
