// The reader of one field of one JSON line.
#include "io/json/json_lines.h"

#include <nlohmann/json.hpp>

#include "io/text/utf8.h"
#include "tests/fuzz/fuzz_target.h"

std::vector<std::string> fuzz_seeds() {
  return {
      R"({"text": "one", "source": "a"})",
      R"( {"meta": {"a": [1, -2.5e+3, true, null, {}]}, "content": "\u00e9\ud83d\ude00\n\"\\"} )",
      R"({"text":"\ud800 alone \udc00","text":"last \b\f\r\t\/"})",
      R"({"content": 3, "text": [[[[]]]]})",
      "{\"text\": \"\xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80\"}",
      R"({"text": "", "n": 0.5E-10, "m": -0, "huge": 6.6E610})",
      R"({"n": [NaN, -Infinity, {"x": Infinity}], "text": "not NaN"})",
      "[1]",
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using memengine::find_invalid_utf8;
  const std::string_view line = fuzz_text(bytes, size);
  std::string text;
  const std::string problem = memengine::read_json_field(line, {"text", "content"}, text);
  if (!problem.empty()) {
    fuzz_check(problem.find('\n') == problem.npos, "a problem of several lines");
    return 0;
  }
  fuzz_check(find_invalid_utf8(text) == text.npos, "the text is not UTF-8");
  // What is accepted is JSON for a full parser too (which refuses lone surrogates, and Python's
  // words for what is no number).
  for (const char* ours : {"\\u", "NaN", "Infinity"}) {
    if (line.find(ours) != line.npos) return 0;
  }
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(line);
  } catch (const nlohmann::json::out_of_range&) {
    return 0;  // a number beyond a double's range, which is JSON all the same
  } catch (const nlohmann::json::parse_error&) {
    fuzz_check(false, "accepted what a full parser refuses");
  }
  fuzz_check(json.is_object(), "accepted what is not a JSON object");
  const auto field = json.contains("text") ? json.at("text") : json.at("content");
  fuzz_check(field == text, "another text than a full parser finds");
  return 0;
}
