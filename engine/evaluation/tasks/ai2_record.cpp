// Both forms are read into lists of texts and labels.
#include "engine/evaluation/tasks/ai2_record.h"

#include <algorithm>

#include "engine/evaluation/python/python_text.h"
#include "kernels/runtime/error.h"

namespace memengine {

Document read_ai2_record(const JsonRecord& record, const char* question) {
  Document document;
  std::vector<std::string> labels;
  if (record.has_object("question")) {
    const JsonRecord inner = record.object("question");
    document.question = inner.text("stem");
    for (const JsonRecord& choice : inner.objects("choices")) {
      document.choices.push_back(choice.text("text"));
      labels.push_back(choice.text("label"));
    }
    const nlohmann::ordered_json flat = {
        {"id", record.text("id")},
        {question, document.question},
        {"choices", {{"text", document.choices}, {"label", labels}}},
        {"answerKey", record.text("answerKey")}};
    document.record = flat.dump();
  } else {
    document.question = record.text(question);
    const JsonRecord choices = record.object("choices");
    document.choices = choices.texts("text");
    labels = choices.texts("label");
    document.record = record.object().dump();
  }
  if (labels.size() != document.choices.size()) {
    fail_input("{}: {} choices have {} labels", record.where(), document.choices.size(),
               labels.size());
  }
  for (const std::string& choice : document.choices) {
    if (choice.empty()) fail_input("{}: a choice is empty", record.where());
  }
  const std::string key = record.text("answerKey");
  const auto found = std::find(labels.begin(), labels.end(), python_strip(key));
  if (found == labels.end()) {
    fail_input("{}: \"answerKey\" is \"{}\", but no choice has this label", record.where(), key);
  }
  document.gold = static_cast<int>(found - labels.begin());
  document.target = std::to_string(document.gold);
  return document;
}

}  // namespace memengine
