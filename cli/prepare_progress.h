// What `prepare` shows while it works.
#pragma once

#include <chrono>

#include "cli/terminal.h"
#include "io/prepare/prepare.h"
#include "io/tokenizers/sentencepiece/sentencepiece_trainer.h"

namespace memengine {

// "tokenizer: 12.0 MiB of text read", then "tokenizer: 1,200 of 4,096 pieces from ...".
class TrainingDisplay {
 public:
  // Both outlive it.
  TrainingDisplay(LiveLine& line, const SentencePieceTraining& training)
      : line_(line), training_(training) {}

  void show(const SentencePieceProgress& now);

 private:
  LiveLine& line_;
  const SentencePieceTraining& training_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double shown_ = 0;
};

// A phase's progress: all of it on a terminal, elsewhere a line now and then, and always its last
// report. A resumed phase starts with work that was done before, so speed is counted from the first
// report of a phase.
class PrepareDisplay {
 public:
  explicit PrepareDisplay(LiveLine& line) : line_(line) {}

  void report(const PrepareProgress& now);

 private:
  std::vector<LineColumn> words(const PrepareProgress& now);

  LiveLine& line_;
  PrepareProgress first_;  // of this phase
  double shown_seconds_ = 0;
};

}  // namespace memengine
