// See the header.
#include "io/tokenizers/hugging_face/json_node.h"

#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {

bool JsonNode::has(const char* key) const {
  simdjson::dom::element found;
  if (!element_.is_object()) refuse("is not an object");
  return element_.at_key(key).get(found) == simdjson::SUCCESS && !found.is_null();
}

bool JsonNode::is_null(const char* key) const {
  simdjson::dom::element found;
  return element_.is_object() && element_.at_key(key).get(found) == simdjson::SUCCESS &&
         found.is_null();
}

JsonNode JsonNode::at(const char* key) const {
  simdjson::dom::element found;
  if (!element_.is_object()) refuse("is not an object");
  if (element_.at_key(key).get(found) != simdjson::SUCCESS) {
    refuse(fmt::format("has no '{}'", key));
  }
  const char* between = where_.find(": ") == std::string::npos ? ": " : ".";
  return {where_ + between + key, found};
}

std::string_view JsonNode::text() const {
  std::string_view value;
  if (element_.get(value) != simdjson::SUCCESS) refuse("is not a text");
  return value;
}

std::string_view JsonNode::text_or(const char* key, std::string_view otherwise) const {
  return has(key) ? at(key).text() : otherwise;
}

bool JsonNode::flag_or(const char* key, bool otherwise) const {
  if (!has(key)) return otherwise;
  bool value = false;
  if (at(key).element_.get(value) != simdjson::SUCCESS) at(key).refuse("is neither true nor false");
  return value;
}

std::int32_t JsonNode::token_id() const {
  std::int64_t value = -1;
  if (element_.get(value) != simdjson::SUCCESS) refuse("is not the number of a token");
  if (value < 0 || value > max_token_id) {
    refuse(fmt::format("is {}: a token's number is 0 to {}", value, max_token_id));
  }
  return static_cast<std::int32_t>(value);
}

bool JsonNode::is_zero() const {
  double value = 1;
  return element_.get(value) == simdjson::SUCCESS && value == 0;
}

std::vector<JsonNode> JsonNode::list() const {
  simdjson::dom::array array;
  if (element_.get(array) != simdjson::SUCCESS) refuse("is not a list");
  std::vector<JsonNode> nodes;
  for (const simdjson::dom::element element : array) nodes.emplace_back(where_, element);
  return nodes;
}

std::vector<std::pair<std::string_view, JsonNode>> JsonNode::members() const {
  simdjson::dom::object object;
  if (element_.get(object) != simdjson::SUCCESS) refuse("is not an object");
  std::vector<std::pair<std::string_view, JsonNode>> nodes;
  for (const simdjson::dom::key_value_pair member : object) {
    nodes.emplace_back(member.key, JsonNode(where_, member.value));
  }
  return nodes;
}

void JsonNode::refuse(std::string_view what) const {
  fail_input("{}: {}", where_, what);
}

void JsonNode::unsupported(std::string_view part) const {
  refuse(fmt::format("{} '{}' is not supported", part, one_line(std::string(type()))));
}

JsonNode parse_json(simdjson::dom::parser& parser, const std::string& where,
                    std::string_view json) {
  simdjson::dom::element root;
  const simdjson::error_code error = parser.parse(simdjson::padded_string(json)).get(root);
  if (error != simdjson::SUCCESS) {
    fail_input("{} is not JSON: {}", where, one_line(simdjson::error_message(error)));
  }
  return {where, root};
}

}  // namespace memengine
