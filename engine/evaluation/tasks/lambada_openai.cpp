// LAMBADA (Paperno et al. 2016), the version that OpenAI used for GPT-2: the last word of a passage
// from a novel, which only the whole passage tells.
//
// A few-shot example has two spaces before its word, because the word brings one of its own. The
// set has one part, so examples come from it, and a passage may be among its own.
#include <string>

#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

Document read_lambada_openai(const JsonRecord& record) {
  Document document;
  const std::string text = record.text("text");
  const std::size_t last = text.rfind(' ');
  if (last == std::string::npos || last == 0) {
    fail_input("{}: the text has no words before its last", record.where());
  }
  document.question = text.substr(0, last);
  document.choices = {text.substr(last)};
  document.target = document.choices.front();
  document.record = record.object().dump();
  return document;
}

}  // namespace

TaskDefinition lambada_openai() {
  TaskDefinition task;
  task.name = "lambada_openai";
  task.kind = TaskDefinition::Kind::continuation;
  task.question_template = "{{text.split(' ')[:-1]|join(' ')}}";
  task.metrics = {&metric_perplexity, &metric_acc_greedy};
  task.asked = {"test",
                {"lambada_openai/test.jsonl", "lambada_test_en.jsonl", "lambada_test.jsonl"}};
  task.read = read_lambada_openai;
  return task;
}

}  // namespace memengine
