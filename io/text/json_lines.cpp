// A recursive-descent checker of RFC 8259 with a bounded depth. Nothing is trusted: each step asks
// whether there is a next byte.
#include "io/text/json_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "io/text/utf8.h"

namespace memengine {
namespace {

constexpr int max_depth = 512;

struct Malformed {
  std::string what;
};

class Scanner {
 public:
  explicit Scanner(std::string_view line) : line_(line) {}

  char peek() const { return at_ < line_.size() ? line_[at_] : '\0'; }

  bool take(char c) {
    if (at_ >= line_.size() || line_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c, const char* where) {
    if (!take(c)) fail(fmt::format("'{}' expected {}", c, where));
  }

  void white_space() {
    while (at_ < line_.size() &&
           (line_[at_] == ' ' || line_[at_] == '\t' || line_[at_] == '\r' || line_[at_] == '\n')) {
      ++at_;
    }
  }

  bool at_end() const { return at_ == line_.size(); }

  // Reads a string whose opening quote is next; with `into`, overwrites it with the decoded text.
  void string(std::string* into) {
    expect('"', "before a string");
    if (into) into->clear();
    for (;;) {
      const std::size_t run = at_;
      while (at_ < line_.size() && line_[at_] != '"' && line_[at_] != '\\' &&
             static_cast<unsigned char>(line_[at_]) >= 0x20) {
        ++at_;
      }
      if (into) into->append(line_, run, at_ - run);
      if (at_ == line_.size()) fail("a string does not end");
      if (take('"')) return;
      if (!take('\\')) fail("a control character stands in a string");
      escape(into);
    }
  }

  void value(int depth) {
    if (depth > max_depth) fail("it is nested too deep");
    const char first = peek();
    if (first == '"') {
      string(nullptr);
    } else if (first == '{') {
      ++at_;
      white_space();
      if (take('}')) return;
      do {
        white_space();
        string(nullptr);
        white_space();
        expect(':', "after a key");
        white_space();
        value(depth + 1);
        white_space();
      } while (take(','));
      expect('}', "after an object");
    } else if (first == '[') {
      ++at_;
      white_space();
      if (take(']')) return;
      do {
        white_space();
        value(depth + 1);
        white_space();
      } while (take(','));
      expect(']', "after a list");
    } else if (!word("true") && !word("false") && !word("null")) {
      number();
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Malformed{fmt::format("not JSON: {} at column {}", what, at_ + 1)};
  }

 private:
  bool word(std::string_view name) {
    if (line_.substr(at_, name.size()) != name) return false;
    at_ += name.size();
    return true;
  }

  bool digits() {
    const std::size_t first = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ > first;
  }

  void number() {
    take('-');
    if (!take('0') && !digits()) fail("a value expected");
    if (take('.') && !digits()) fail("a digit expected");
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      if (!digits()) fail("a digit expected");
    }
  }

  std::uint32_t hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("four hexadecimal digits expected after \\u");
      code = code << 4 | static_cast<std::uint32_t>(digit);
      ++at_;
    }
    return code;
  }

  void escape(std::string* into) {
    static constexpr std::string_view names = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    const char c = peek();
    if (const std::size_t which = names.find(c); c != '\0' && which != std::string_view::npos) {
      ++at_;
      if (into) *into += meanings[which];
      return;
    }
    if (!take('u')) fail("an unknown escape");
    std::uint32_t code = hex4();
    if (code >= 0xD800 && code <= 0xDBFF && line_.substr(at_, 2) == "\\u") {
      const std::size_t second = at_;
      at_ += 2;
      const std::uint32_t low = hex4();
      if (low >= 0xDC00 && low <= 0xDFFF) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      } else {
        at_ = second;  // not its partner: read again as a character of its own
      }
    }
    if (into) append_utf8(*into, code);
  }

  std::string_view line_;
  std::size_t at_ = 0;
};

}  // namespace

std::string read_json_field(std::string_view line, const std::vector<std::string>& fields,
                            std::string& text) {
  if (const std::size_t bad = find_invalid_utf8(line); bad != std::string_view::npos) {
    return fmt::format("not UTF-8 (byte {} of the line)", bad + 1);
  }
  try {
    Scanner scanner(line);
    scanner.white_space();
    scanner.expect('{', "at the start of a line");
    std::size_t best = fields.size();
    bool is_string = false;
    std::string key;
    scanner.white_space();
    if (!scanner.take('}')) {
      do {
        scanner.white_space();
        scanner.string(&key);
        scanner.white_space();
        scanner.expect(':', "after a key");
        scanner.white_space();
        const auto field =
            static_cast<std::size_t>(std::find(fields.begin(), fields.end(), key) - fields.begin());
        if (field < fields.size() && field <= best) {
          best = field;
          is_string = scanner.peek() == '"';
        }
        if (field < fields.size() && field == best && is_string) {
          scanner.string(&text);
        } else {
          scanner.value(1);
        }
        scanner.white_space();
      } while (scanner.take(','));
      scanner.expect('}', "after the last field");
    }
    scanner.white_space();
    if (!scanner.at_end()) scanner.fail("something follows the object");
    if (best == fields.size()) {
      std::string names;
      for (const std::string& field : fields)
        names += (names.empty() ? "'" : " or '") + field + "'";
      return "no field " + names + "; name the field that holds the text";
    }
    if (!is_string) return fmt::format("field '{}' is not a string", fields[best]);
  } catch (const Malformed& malformed) {
    return malformed.what;
  }
  return {};
}

}  // namespace memengine
