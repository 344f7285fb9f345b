// Do the rows that a person's sentences read hold that person's facts?
//
// On the synthetic biographies (io/synthetic/biographies.h). A fact is told in several paraphrases,
// each a question once its value is taken away. For some facts, chosen by a seed, rows are silenced
// and three groups of questions that the whole model answers are asked again: the fact's own, those
// about the person's other facts, and some about other people. The silenced rows are, one arm each:
//
//   answer    rows that at least `share` of the fact's paraphrases read where they predict a token
//             of the value
//   specific  of those, the ones that at most `common` of other people's questions read so
//   name      rows read at the last token of the person's name, which is the same in all sentences
//
// and for each arm a control: as many other rows, which all questions together read about as often.
// A question is answered when every token of the value and the full stop after it is the model's
// first choice; that is what greedy recall asks (engine/evaluation/tasks/recall.cpp).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/memory_probe/probe_model.h"

namespace memengine {

struct FactsOptions {
  std::int64_t people = 300;  // as `memengine synth` made them
  int passages = 40;
  std::uint64_t seed = 42;
  std::int64_t facts = 60;    // studied
  std::int64_t others = 120;  // questions about other people, for each fact
  double share = 0.5;
  double common = 0.2;
};

// Questions of one group, over all facts.
struct FactGroup {
  std::int64_t asked = 0, lost = 0;
  double share_lost = 0;       // mean over the facts of the share that became unanswerable
  double share_error = 0;      // standard error of that mean
  double log_probability = 0;  // mean change of log p(value), nats
};

struct FactArm {
  std::string name;           // "answer", "answer control", ...
  double rows = 0;            // silenced, mean over the facts
  double share_of_reads = 0;  // of the picks of all questions, those of the silenced rows, mean
  FactGroup own, person, others;
};

struct FactStudy {
  std::int64_t facts = 0;            // studied
  std::int64_t questions = 0;        // of all people, one a fact
  std::int64_t answered = 0;         // by the whole model
  std::int64_t answers_changed = 0;  // by silencing nothing: must be 0
  std::vector<FactArm> arms;
};

// Input errors: a model that knows none of these people, people or passages out of range.
FactStudy study_facts(
    ProbeModel& model, const FactsOptions& options,
    const std::function<void(std::int64_t done, std::int64_t all)>& progress = {});

// One question as tokens: what of it is the name, and what the value.
struct FactQuestion {
  std::vector<std::int32_t> prompt, value;  // the value with the full stop after it
  std::int64_t name_end = 0;                // the last token of the name in the prompt
};

// Rows of every table [tables] that the tokens of these questions pick, each once, ascending: where
// they predict a token of the value, and at the name's end.
struct QuestionRows {
  std::vector<std::int64_t> answer, name;  // table * rows + row
};
std::vector<QuestionRows> read_question_rows(ProbeModel& model,
                                             const std::vector<FactQuestion>& questions,
                                             std::vector<std::int64_t>& reads);

// How the questions fare with the model as it is.
struct FactAnswer {
  bool right = false;
  double log_probability = 0;
};
std::vector<FactAnswer> ask(ProbeModel& model, const std::vector<FactQuestion>& questions);

}  // namespace memengine
