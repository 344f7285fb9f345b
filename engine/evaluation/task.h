// Evaluation tasks: what is asked, with which prompt, and how an answer is scored.
//
// The rules are EleutherAI lm-evaluation-harness's (checked against version 0.4.13), so that scores
// can be compared with published ones to the last digit. A prompt is
//
//   description + k x (question + target_delimiter + answer + fewshot_delimiter) + question
//
// A multiple-choice task scores target_delimiter + choice after the prompt for each choice; a
// generation task continues it greedily until a stop string.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace memengine {

struct Document {
  std::string question;              // the prompt's last part, after the task's own preprocessing
  std::vector<std::string> choices;  // multiple choice: the texts, none empty
  int gold = 0;                      // multiple choice: the right one
  std::vector<std::string> answers;  // generation: every accepted answer, at least one
  std::string where;                 // "file:line", for error messages
  std::string record;                // the JSON object: two documents are equal when these are

  // The answer that a few-shot example shows.
  const std::string& shown_answer() const {
    return choices.empty() ? answers.front() : choices[static_cast<std::size_t>(gold)];
  }
};

struct Task {
  enum class Kind { multiple_choice, generation };

  std::string name;
  Kind kind = Kind::multiple_choice;
  double version = 1.0;           // of the harness's task definition
  std::string question_template;  // for the record in results.json
  std::string description;
  std::string target_delimiter = " ";
  std::string fewshot_delimiter = "\n\n";
  std::vector<std::string> metrics;  // in the order of reporting
  std::string filter = "none";       // the harness's name for the answer's post-processing
  std::vector<std::string> until;    // generation: stop strings
  int max_gen_tokens = 256;          // generation: the harness's default

  std::vector<Document> documents;  // the validation split, in file order
  std::vector<Document> train;      // the training split, where there is one and it was asked for

  // The few-shot examples come from the training split. Where its file is absent they come from the
  // validation split, as the harness does for a task without a training split; the evaluated
  // document is never among its own examples.
  const std::vector<Document>& shot_pool() const { return train.empty() ? documents : train; }
  std::string_view shot_split() const { return train.empty() ? "validation" : "train"; }
};

// "hellaswag", "piqa", "nq_open".
const std::vector<std::string>& evaluation_task_names();

// Loads task `name` from <data_root>/<name>/validation.jsonl and, when `with_shots`, train.jsonl
// beside it if that exists. Records have the sets' own fields:
//   hellaswag  activity_label, ctx_a, ctx_b, endings[], label
//   piqa       goal, sol1, sol2, label
//   nq_open    question, answer[]
// Input errors name file and line: not JSON, a field missing or of the wrong type, a label out of
// range, an empty choice, no accepted answer. An unknown task, or a missing or empty file:
// likewise.
Task load_task(const std::string& name, const std::filesystem::path& data_root, bool with_shots);

// The prompts of the first `count` documents, with `num_fewshot` examples each, drawn by Python's
// random.Random(seed): num_fewshot + 1 draws a document, one generator through all documents in
// order, the evaluated document dropped, the rest cut to num_fewshot. Too small a pool is an input
// error.
std::vector<std::string> build_contexts(const Task& task, int num_fewshot, std::size_t count,
                                        std::uint64_t seed);

}  // namespace memengine
