// A line that simdjson accepts is done with one pass. Only one that it refuses costs more: it is
// tried again with what is JSON but not for simdjson replaced, and if that does not help, a full
// parser finds the words for what is wrong.
#include "io/json/json_lines.h"

#include <fmt/ranges.h>
#include <simdjson.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/text/ascii.h"
#include "io/text/utf8.h"

namespace memengine {
namespace {

// The code of an escape "\uXXXX" at `at`; 0 when there is none.
unsigned escaped_code(std::string_view line, std::size_t at) {
  if (line.size() < at + 6 || line.substr(at, 2) != "\\u") return 0;
  unsigned code = 0;
  for (const char c : line.substr(at + 2, 4)) {
    const int digit = is_digit(c)            ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return 0;
    code = code << 4 | static_cast<unsigned>(digit);
  }
  return code;
}

// The length of a word of Python's at the front of `text` that JSON lacks; 0: there is none.
std::size_t no_number(std::string_view text) {
  for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
    if (text.starts_with(word)) return word.size();
  }
  return 0;
}

// The line with \ufffd for each surrogate that has no partner, with null for what Python writes as
// NaN, Infinity and -Infinity, and with shorter numbers: of digits in a row 18 stay, of an
// exponent's one. What was JSON is, and what was not is not.
std::string within_simdjson(std::string_view line) {
  std::string result;
  result.reserve(line.size());
  bool in_string = false;
  std::size_t digits = 0, kept = 0;  // in a row, and how many of such a row stay
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_string && c == '\\') {
      const unsigned code = escaped_code(line, i), next = escaped_code(line, i + 6);
      const bool pair = code >= 0xD800 && code < 0xDC00 && next >= 0xDC00 && next < 0xE000;
      const bool alone = !pair && code >= 0xD800 && code < 0xE000;
      const std::size_t length = pair ? 12 : code ? 6 : 2;
      result += alone ? std::string_view("\\ufffd") : line.substr(i, length);
      i += length - 1;
      continue;
    }
    if (c == '"') in_string = !in_string;
    if (const std::size_t length = in_string ? 0 : no_number(line.substr(i)); length > 0) {
      result += "null";
      i += length - 1;
      digits = 0;
      kept = 18;
      continue;
    }
    if (!in_string && is_digit(c)) {
      if (++digits > kept) continue;
    } else {
      digits = 0;
      const bool sign = kept == 1 && (c == '+' || c == '-');
      kept = c == 'e' || c == 'E' || sign ? 1 : 18;
    }
    result += c;
  }
  return result;
}

struct FirstProblem : nlohmann::json_sax<nlohmann::json> {
  std::string words = "not JSON";
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  // "[...] parse error at line 1, column 9: syntax error while parsing value - ...; last read: ..."
  bool parse_error(std::size_t byte, const std::string&,
                   const nlohmann::json::exception& error) override {
    std::string_view what = error.what();
    what = what.substr(0, what.find("; last read"));
    if (const std::size_t colon = what.find(": "); colon != what.npos)
      what.remove_prefix(colon + 2);
    words = fmt::format("not JSON: {} at column {}", what, byte);
    return false;
  }
};

// What is wrong with a line that is not JSON.
std::string problem_of(std::string_view line, simdjson::error_code error) {
  if (error == simdjson::DEPTH_ERROR) return "not JSON: it is nested too deep";
  FirstProblem problem;
  nlohmann::json::sax_parse(line, &problem);
  return problem.words;
}

// The value under a field's name: the key of that name, or else what the parts of the name between
// dots lead to, object by object.
std::optional<simdjson::dom::element> find(simdjson::dom::object object, std::string_view name) {
  std::optional<simdjson::dom::element> found, inside;
  for (const simdjson::dom::key_value_pair field : object) {
    simdjson::dom::object inner;
    if (field.key == name) {
      found = field.value;
    } else if (name.size() > field.key.size() && name[field.key.size()] == '.' &&
               name.starts_with(field.key)) {
      inside =
          field.value.get(inner) ? std::nullopt : find(inner, name.substr(field.key.size() + 1));
    }
  }
  return found ? found : inside;
}

std::string read_field(simdjson::dom::object object, const std::vector<std::string>& fields,
                       std::string& text) {
  for (const std::string& name : fields) {
    const std::optional<simdjson::dom::element> found = find(object, name);
    if (!found) continue;
    std::string_view value;
    if (found->get(value)) return fmt::format("field '{}' is not a string", name);
    text.assign(value);
    return {};
  }
  return fmt::format("no field '{}'; name the field that holds the text",
                     fmt::join(fields, "' or '"));
}

}  // namespace

std::string read_json_field(std::string_view line, const std::vector<std::string>& fields,
                            std::string& text) {
  thread_local simdjson::dom::parser parser;
  simdjson::dom::element whole;
  simdjson::error_code error = parser.parse(line.data(), line.size()).get(whole);
  std::string mended;
  if (error) {
    if (const std::size_t bad = find_invalid_utf8(line); bad != line.npos) {
      return fmt::format("not UTF-8 (byte {} of the line)", bad + 1);
    }
    mended = within_simdjson(line);
    error = parser.parse(mended.data(), mended.size()).get(whole);
  }
  // Some releases pass over a byte order mark.
  const std::size_t first = line.find_first_not_of(" \t\r\n");
  if (first == line.npos || line[first] != '{') {
    return "not JSON: '{' expected at the start of a line";
  }
  if (error) return problem_of(mended, error);
  return read_field(whole, fields, text);
}

}  // namespace memengine
