// Reading JSON lines with errors that name the file and the line.
#include "engine/evaluation/tasks/task_files.h"

#include <algorithm>
#include <fstream>

#include "kernels/runtime/error.h"

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

namespace {

// The harness's data sets are tables: every record has its fields in the order of the first one.
nlohmann::ordered_json in_order(nlohmann::ordered_json object,
                                const std::vector<std::string>& order) {
  std::size_t at = 0;
  const auto& items = object.items();
  const bool is = std::all_of(items.begin(), items.end(), [&](const auto& field) {
    return at < order.size() && field.key() == order[at++];
  });
  if (is) return object;
  auto ordered = nlohmann::ordered_json::object();
  for (const std::string& field : order) {
    const auto found = object.find(field);
    if (found != object.end()) ordered[field] = std::move(*found);
  }
  for (auto& field : object.items()) {
    if (!ordered.contains(field.key())) ordered[field.key()] = std::move(field.value());
  }
  return ordered;
}

}  // namespace

void read_json_lines(const std::filesystem::path& file,
                     const std::function<void(const JsonRecord&)>& visit) {
  std::ifstream in(file, std::ios::binary);
  if (!in) fail_input("{}: cannot open the file", file.string());
  std::string line;
  std::vector<std::string> order;  // of the first record's fields
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto object = nlohmann::ordered_json::parse(line, nullptr, false);
    std::string where = fmt::format("{}:{}", file.string(), number);
    if (!object.is_object()) fail_input("{}: the line is not a JSON object", where);
    if (order.empty()) {
      for (const auto& field : object.items()) order.push_back(field.key());
    }
    visit(JsonRecord(in_order(std::move(object), order), std::move(where)));
  }
  if (in.bad()) fail_input("{}: reading the file failed", file.string());
}

}  // namespace memengine
