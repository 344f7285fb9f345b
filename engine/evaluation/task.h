// Evaluation tasks: what is asked, with which prompt, and how an answer is scored.
//
// The rules are EleutherAI lm-evaluation-harness's (checked against version 0.4.13), so that scores
// can be compared with published ones to the last digit. A prompt is
//
//   description + k x (question + target_delimiter + answer + fewshot_delimiter) + question
//
// A task is one file in tasks/, which defines it, and a line in tasks/task_list.cpp; nothing else
// in the engine knows a task by its name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace memengine {

class JsonRecord;
struct TaskMetric;

struct Document {
  std::string question;              // the prompt's last part, after the task's own preprocessing
  std::vector<std::string> choices;  // what may follow: texts, none empty; generation has none
  int gold = 0;                      // the right one
  // Where the choice stands inside the question, one question per choice (and the same text follows
  // each); `question` is the right one then. Otherwise empty.
  std::vector<std::string> questions;
  std::vector<std::string> answers;  // generation: every accepted answer, at least one
  std::string group;                 // of which scores are told apart, too; "": none
  std::string target;                // as the harness writes it down
  std::string where;                 // "file:line", for error messages
  std::string record;                // the JSON object: two documents are equal when these are

  // The answer that a few-shot example shows.
  const std::string& shown_answer() const {
    return choices.empty() ? answers.front() : choices[static_cast<std::size_t>(gold)];
  }
};

// One part of a set: where it may lie below the folder of all sets, the first that exists counts.
struct Split {
  std::string name;  // "train", "validation", "test"
  std::vector<std::filesystem::path> files;
};

struct TaskDefinition {
  enum class Kind {
    multiple_choice,  // the log-likelihood of target_delimiter + choice, for each choice
    continuation,     // the log-likelihood of the one choice, as it is
    generation,       // what the model says next, greedily, up to a stop string
    loss              // no questions: windows of tokens (engine/evaluation/corpus/)
  };

  std::string name;
  std::vector<std::string> groups;  // names in a config that mean this task among others
  Kind kind = Kind::multiple_choice;
  double version = 1.0;           // of the harness's task definition
  std::string question_template;  // for the record in results.json
  std::string description;
  std::string target_delimiter = " ";
  std::string fewshot_delimiter = "\n\n";
  std::vector<const TaskMetric*> metrics;  // in the order of reporting: see metrics.h
  std::string filter = "none";             // the harness's name for the answer's post-processing
  std::vector<std::string> until;          // generation: stop strings
  int max_gen_tokens = 256;                // generation: the harness's default
  // Generation: as many tokens as the longest accepted answer has, and a few to spare, whatever
  // max_gen_tokens says; and no prompt is cut.
  bool exact_answers = false;

  Split asked;  // JSON lines
  Split
      shots;  // the same, few-shot examples are drawn from it; no files: the set has only one part
  // Makes one record a document, `where` aside. Input errors: see json_record.h.
  Document (*read)(const JsonRecord&) = nullptr;
};

struct Task : TaskDefinition {
  std::vector<Document> documents;  // of the part that is asked, in file order
  std::vector<Document> train;      // of the other, where it is there and was asked for

  // Few-shot examples come from the training part; where that is absent, from the part that is
  // asked.
  const std::vector<Document>& shot_pool() const { return train.empty() ? documents : train; }
  std::string_view shot_split() const { return train.empty() ? asked.name : shots.name; }
  // Whether a document is kept from its own examples. The harness draws one more and drops it, but
  // not where the part that is asked is called "test"; we do there too when a training part that
  // should be there is not.
  bool spares_the_asked() const {
    return asked.name != "test" || (train.empty() && !shots.files.empty());
  }
};

// All tasks, and one by its name; unknown: nullptr.
const std::vector<TaskDefinition>& evaluation_tasks();
const TaskDefinition* find_evaluation_task(std::string_view name);

// The names of the tasks that a name in a config means: itself, or a group's members. Unknown: an
// input error that lists the known ones.
std::vector<std::string> evaluation_task_names(const std::string& name);

// Where a split lies below `data_root`; an empty path where none of its files is there.
std::filesystem::path find_split(const Split& split, const std::filesystem::path& data_root);

// Loads task `name` from below `data_root`, or the part that is asked from `path` unless that is
// empty; its training part only when `with_shots`, and if it is there. Not for tasks of kind
// `loss`. Input errors name file and line: not JSON, a field missing or of the wrong type, a label
// out of range, an empty choice, no accepted answer. An unknown task, or a missing or empty file:
// likewise.
Task load_task(const std::string& name, const std::filesystem::path& data_root, bool with_shots,
               const std::filesystem::path& path = {});

// What stands before the question of each of the first `count` documents: the description, and
// `num_fewshot` examples drawn by Python's random.Random(seed), one generator through all documents
// in order. Too small a pool is an input error.
std::vector<std::string> build_preambles(const Task& task, int num_fewshot, std::size_t count,
                                         std::uint64_t seed);

}  // namespace memengine
