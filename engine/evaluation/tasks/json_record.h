// One record of an evaluation set, with checked access to its fields, for the tasks' own files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace memengine {

// One line of a JSON-lines file, with checked access to its fields. Every failure is one input
// error that begins with "file:line:".
class JsonRecord {
 public:
  JsonRecord(nlohmann::ordered_json object, std::string where, std::int64_t index = 0)
      : object_(std::move(object)), where_(std::move(where)), index_(index) {}

  const std::string& where() const { return where_; }
  std::int64_t index() const { return index_; }  // of the record in its file, from 0
  const nlohmann::ordered_json& object() const { return object_; }

  bool has(const char* field) const { return object_.contains(field); }
  bool has_object(const char* field) const { return has(field) && object_[field].is_object(); }
  JsonRecord object(const char* field) const;                // the object under a field
  std::vector<JsonRecord> objects(const char* field) const;  // a list of objects
  std::string text(const char* field) const;
  std::vector<std::string> texts(const char* field) const;  // a list of strings
  // A number, true or false for 1 or 0, or a string of digits as some copies of the sets have; in
  // [0, count).
  int label(const char* field, std::size_t count) const;

 private:
  const nlohmann::ordered_json& at(const char* field) const;

  nlohmann::ordered_json object_;
  std::string where_;
  std::int64_t index_;
};

// Calls `visit` for every line that is not blank, in order.
void read_json_lines(const std::filesystem::path& file,
                     const std::function<void(const JsonRecord&)>& visit);

}  // namespace memengine
