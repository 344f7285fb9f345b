// Reading JSON lines with errors that name the file and the line.
#include "engine/evaluation/tasks/json_record.h"

#include <string_view>

#include "io/files/line_file.h"
#include "io/text/ascii.h"
#include "kernels/runtime/error.h"

namespace memengine {

using Json = nlohmann::ordered_json;

const Json& JsonRecord::at(const char* field) const {
  const auto found = object_.find(field);
  if (found == object_.end()) fail_input("{}: the field \"{}\" is missing", where_, field);
  return *found;
}

JsonRecord JsonRecord::object(const char* field) const {
  const auto& value = at(field);
  if (!value.is_object()) fail_input("{}: the field \"{}\" must be an object", where_, field);
  return JsonRecord(value, where_);
}

std::vector<JsonRecord> JsonRecord::objects(const char* field) const {
  const auto& value = at(field);
  if (!value.is_array()) fail_input("{}: the field \"{}\" must be a list", where_, field);
  std::vector<JsonRecord> objects;
  for (const auto& element : value) {
    if (!element.is_object()) {
      fail_input("{}: the list \"{}\" must hold objects only", where_, field);
    }
    objects.emplace_back(element, where_);
  }
  return objects;
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
  } else if (value.is_boolean()) {
    label = value.get<bool>() ? 1 : 0;
  } else if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    if (digits.size() == 1 && is_digit(digits[0])) label = digits[0] - '0';
  }
  if (label < 0 || label >= static_cast<std::int64_t>(count)) {
    fail_input("{}: \"{}\" is {}, but must be a number from 0 to {}", where_, field, value.dump(),
               static_cast<std::int64_t>(count) - 1);
  }
  return static_cast<int>(label);
}

namespace {

// The harness's data sets are tables: every record, and every object inside one, has its fields in
// the order of the first.
Json in_order(Json object, const Json& first) {
  auto ordered = Json::object();
  for (const auto& field : first.items()) {
    const auto found = object.find(field.key());
    if (found == object.end()) continue;
    const bool nested = found->is_object() && field.value().is_object();
    ordered[field.key()] = nested ? in_order(std::move(*found), field.value()) : std::move(*found);
  }
  for (auto& field : object.items()) {
    if (!ordered.contains(field.key())) ordered[field.key()] = std::move(field.value());
  }
  return ordered;
}

}  // namespace

void read_json_lines(const std::filesystem::path& file,
                     const std::function<void(const JsonRecord&)>& visit) {
  LineFile in(file);
  std::string_view line;
  Json first;
  std::int64_t index = 0;
  while (in.next(line)) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto object = Json::parse(line, nullptr, false);
    std::string where = fmt::format("{}:{}", file.string(), in.number());
    if (!object.is_object()) fail_input("{}: the line is not a JSON object", where);
    if (first.is_null()) first = object;
    visit(JsonRecord(in_order(std::move(object), first), std::move(where), index++));
  }
}

}  // namespace memengine
