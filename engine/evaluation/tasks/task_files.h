// Inside engine/evaluation: reading a task's JSON lines, and the three tasks' loaders.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/evaluation/task.h"

namespace memengine {

// One line of a JSON-lines file, with checked access to its fields. Every failure is one input
// error that begins with "file:line:".
class JsonRecord {
 public:
  JsonRecord(nlohmann::ordered_json object, std::string where)
      : object_(std::move(object)), where_(std::move(where)) {}

  const std::string& where() const { return where_; }
  const nlohmann::ordered_json& object() const { return object_; }

  std::string text(const char* field) const;
  std::vector<std::string> texts(const char* field) const;  // a list of strings
  // A number, or a string of digits as some copies of the sets have, in [0, count).
  int label(const char* field, std::size_t count) const;

 private:
  const nlohmann::ordered_json& at(const char* field) const;

  nlohmann::ordered_json object_;
  std::string where_;
};

// Calls `visit` for every line that is not blank, in order.
void read_json_lines(const std::filesystem::path& file,
                     const std::function<void(const JsonRecord&)>& visit);

// The tasks' own files: the definition without documents, and one record made a document.
Task hellaswag_task();
Document hellaswag_document(const JsonRecord& record);
Task piqa_task();
Document piqa_document(const JsonRecord& record);
Task nq_open_task();
Document nq_open_document(const JsonRecord& record);

}  // namespace memengine
