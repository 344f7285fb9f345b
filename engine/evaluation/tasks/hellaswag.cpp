// HellaSwag (Zellers et al. 2019): which of four endings continues the text.
//
// The prompt is "activity: context", where the context is ctx_a, a space, and ctx_b capitalized as
// Python does it: first letter upper case, all others lower case. Prompt and endings are then
// cleaned of WikiHow's brackets.
#include <string>

#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// re.sub(r"\[.*?\]", "", text): a bracket, to the nearest closing one on the same line.
std::string drop_brackets(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  std::size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '[') {
      const std::size_t end = text.find_first_of("]\n", at);
      if (end != std::string_view::npos && text[end] == ']') {
        at = end + 1;
        continue;
      }
    }
    result += text[at++];
  }
  return result;
}

std::string clean(std::string_view text) {
  const std::string titled = python_replace(python_strip(text), " [title]", ". ");
  return python_replace(drop_brackets(titled), "  ", " ");
}

Document read_hellaswag(const JsonRecord& record) {
  Document document;
  document.question = clean(record.text("activity_label") + ": " + record.text("ctx_a") + " " +
                            python_capitalize(record.text("ctx_b")));
  document.choices = record.texts("endings");
  document.gold = record.label("label", document.choices.size());
  for (std::string& choice : document.choices) {
    choice = clean(choice);
    if (choice.empty()) fail_input("{}: an ending is empty", record.where());
  }
  nlohmann::ordered_json object = record.object();
  object["query"] = document.question;
  object["choices"] = document.choices;
  object["gold"] = document.gold;
  document.record = object.dump();
  document.target = std::to_string(document.gold);
  return document;
}

}  // namespace

TaskDefinition hellaswag() {
  TaskDefinition task;
  task.name = "hellaswag";
  task.question_template = "{{query}}";
  task.metrics = {&metric_acc, &metric_acc_norm};
  task.asked = {"validation", {"hellaswag/validation.jsonl"}};
  task.shots = {"train", {"hellaswag/train.jsonl"}};
  task.read = read_hellaswag;
  return task;
}

}  // namespace memengine
