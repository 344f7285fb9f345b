// Reading JSON lines with errors that name the file and the line.
#include "engine/eval/task_files.h"

#include <fstream>

#include "engine/runtime/error.h"

namespace memengine {

const nlohmann::ordered_json& JsonRecord::at(const char* field) const {
  const auto found = object_.find(field);
  if (found == object_.end()) fail_input("{}: the field \"{}\" is missing", where_, field);
  return *found;
}

std::string JsonRecord::text(const char* field) const {
  const auto& value = at(field);
  if (!value.is_string()) fail_input("{}: the field \"{}\" must be a string", where_, field);
  return value.get<std::string>();
}

std::vector<std::string> JsonRecord::texts(const char* field) const {
  const auto& value = at(field);
  if (!value.is_array()) fail_input("{}: the field \"{}\" must be a list", where_, field);
  std::vector<std::string> texts;
  texts.reserve(value.size());
  for (const auto& element : value) {
    if (!element.is_string()) {
      fail_input("{}: the list \"{}\" must hold strings only", where_, field);
    }
    texts.push_back(element.get<std::string>());
  }
  return texts;
}

int JsonRecord::label(const char* field, std::size_t count) const {
  const auto& value = at(field);
  std::int64_t label = -1;
  if (value.is_number_integer()) {
    label = value.get<std::int64_t>();
  } else if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    if (digits.size() == 1 && digits[0] >= '0' && digits[0] <= '9') label = digits[0] - '0';
  }
  if (label < 0 || label >= static_cast<std::int64_t>(count)) {
    fail_input("{}: \"{}\" is {}, but must be a number from 0 to {}", where_, field, value.dump(),
               static_cast<std::int64_t>(count) - 1);
  }
  return static_cast<int>(label);
}

void read_json_lines(const std::filesystem::path& file,
                     const std::function<void(const JsonRecord&)>& visit) {
  std::ifstream in(file, std::ios::binary);
  if (!in) fail_input("{}: cannot open the file", file.string());
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto object = nlohmann::ordered_json::parse(line, nullptr, false);
    std::string where = fmt::format("{}:{}", file.string(), number);
    if (!object.is_object()) fail_input("{}: the line is not a JSON object", where);
    visit(JsonRecord(std::move(object), std::move(where)));
  }
  if (in.bad()) fail_input("{}: reading the file failed", file.string());
}

}  // namespace memengine
