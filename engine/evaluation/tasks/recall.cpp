// Recall: how many facts a model has stored.
//
// Each question is a sentence that the model was trained on, up to its value; the model continues
// it greedily, and the fact counts when what it says before the next "." or the end of the line is
// exactly the value. This is the measure of knowledge capacity in "Physics of Language Models: Part
// 3" (Allen-Zhu and Li, 2023); it is not a task of the harness. `memengine synth` writes such
// questions (io/synthetic/biographies.h); any file of {"prompt", "answer"} will do, and with an
// "attribute" the share is told of each attribute beside that of all.
#include <algorithm>
#include <cctype>
#include <string>

#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// The name of a figure of its own, so no name that a results file could not have as a key.
std::string attribute(const JsonRecord& record) {
  const std::string& name = record.text("attribute");
  const bool plain = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == ' ' || c >= 0x80;
  });
  if (name.empty() || !plain || name == metric_recall.name || name.size() > 100) {
    fail_input("{}: the attribute {} must be letters, digits, spaces, _ or -, and not \"{}\"",
               record.where(), record.object()["attribute"].dump(), metric_recall.name);
  }
  return name;
}

Document read(const JsonRecord& record) {
  Document document;
  document.question = record.text("prompt");
  document.answers = {record.text("answer")};
  document.target = document.answers.front();
  document.record = record.object().dump();
  if (document.question.empty() || python_strip(document.target).empty()) {
    fail_input("{}: a recall question needs a prompt and an answer", record.where());
  }
  if (document.target.find_first_of(".\n") != std::string::npos) {
    fail_input("{}: the answer {} has a full stop or a line's end, which ends an answer",
               record.where(), record.object()["answer"].dump());
  }
  if (record.has("attribute")) document.group = attribute(record);
  return document;
}

}  // namespace

TaskDefinition recall() {
  TaskDefinition task;
  task.name = "recall";
  task.kind = TaskDefinition::Kind::generation;
  task.question_template = "{{prompt}}";
  task.target_delimiter = "";  // an answer brings its own space
  task.metrics = {&metric_recall};
  task.until = {".", "\n"};
  task.exact_answers = true;
  task.asked = {"test", {"recall/questions.jsonl", "questions.jsonl"}};
  task.read = read;
  return task;
}

}  // namespace memengine
