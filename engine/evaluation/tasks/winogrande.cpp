// WinoGrande (Sakaguchi et al. 2019): which of two names fills the blank "_" of a sentence.
//
// Scored as Trinh and Le (2018) do: the choices stand in the context, and what is scored is the
// text after the blank, the same for both.
#include <string>

#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

Document read_winogrande(const JsonRecord& record) {
  Document document;
  const std::string sentence = record.text("sentence");
  const std::size_t blank = sentence.find('_');
  if (blank == std::string::npos) fail_input("{}: the sentence has no blank \"_\"", record.where());
  for (const char* option : {"option1", "option2"}) {
    document.questions.push_back(sentence.substr(0, blank) + record.text(option));
  }
  const std::string answer = record.text("answer");
  if (answer != "1" && answer != "2") {
    fail_input("{}: \"answer\" is \"{}\", but must be \"1\" or \"2\"", record.where(), answer);
  }
  document.gold = answer == "1" ? 0 : 1;
  document.question = document.questions[static_cast<std::size_t>(document.gold)];
  document.target = python_strip(std::string_view(sentence).substr(blank + 1));
  if (document.target.empty()) fail_input("{}: nothing follows the blank", record.where());
  document.choices = {document.target, document.target};
  nlohmann::ordered_json object = record.object();
  object.erase("qID");  // the original form has it, the data set has not
  document.record = object.dump();
  return document;
}

}  // namespace

TaskDefinition winogrande() {
  TaskDefinition task;
  task.name = "winogrande";
  task.question_template = "{{sentence up to the blank}}{{option}}";
  task.metrics = {&metric_acc};
  task.asked = {"validation", {"winogrande/validation.jsonl", "winogrande_1.1/dev.jsonl"}};
  task.shots = {"train", {"winogrande/train.jsonl", "winogrande_1.1/train_xl.jsonl"}};
  task.read = read_winogrande;
  return task;
}

}  // namespace memengine
