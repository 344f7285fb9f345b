// Typed reading of a stranger's JSON: every value is of the type that is asked for, or one input
// error says where and what. Nodes point into the document, which must outlive them.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace memengine {

class JsonNode {
 public:
  JsonNode(std::string where, simdjson::dom::element element)
      : where_(std::move(where)), element_(element) {}

  // A member; absent and null are the same: not there.
  bool has(const char* key) const;
  bool is_null(const char* key) const;  // there, and null
  JsonNode at(const char* key) const;   // input error when it is not there

  std::string_view text() const;
  std::string_view text(const char* key) const { return at(key).text(); }
  std::string_view text_or(const char* key, std::string_view otherwise) const;
  bool flag_or(const char* key, bool otherwise) const;
  std::int32_t token_id() const;  // 0 to max_token_id
  std::vector<JsonNode> list() const;
  std::vector<std::pair<std::string_view, JsonNode>> members() const;
  bool is_text() const { return element_.is_string(); }
  bool is_list() const { return element_.is_array(); }
  bool is_zero() const;  // the number 0

  // The "type" of a part: "ByteLevel".
  std::string_view type() const { return text("type"); }

  [[noreturn]] void refuse(std::string_view what) const;
  [[noreturn]] void unsupported(std::string_view part) const;  // of this type

  static constexpr std::int32_t max_token_id = (1 << 24) - 1;

 private:
  std::string where_;  // file and place: "tokenizer.json: model.vocab"
  simdjson::dom::element element_;
};

// Parses a whole document; not JSON, or nested too deep: input error. `parser` owns the nodes.
JsonNode parse_json(simdjson::dom::parser& parser, const std::string& where, std::string_view json);

}  // namespace memengine
