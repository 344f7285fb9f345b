// A bracket counter that knows strings. A line end inside a string is never JSON: there an object
// that lacks its quote or bracket ends, and the objects after it are read.
#include "io/json/json_objects.h"

namespace memengine {
namespace {

constexpr std::string_view white_space = " \t\r\n";

// Bracket depth over parts of a text.
struct Nesting {
  int depth = 0;
  bool in_string = false, escaped = false;

  // The length of the front of `text` up to where depth comes down to zero; npos when it does not.
  std::size_t end_in(std::string_view text) {
    for (std::size_t at = 0; at < text.size(); ++at) {
      const char c = text[at];
      if (escaped) {
        escaped = false;
      } else if (in_string) {
        if (c == '\\') escaped = true;
        if (c == '"') in_string = false;
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if ((c == '}' || c == ']') && --depth <= 0) {
        return at + 1;
      }
    }
    return std::string_view::npos;
  }
};

void trim_front(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(white_space), text.size()));
}

}  // namespace

bool begins_like_json(std::string_view first) {
  trim_front(first);
  if (first.empty() || (first[0] != '{' && first[0] != '[')) return false;
  const bool list = first[0] == '[';
  first.remove_prefix(1);
  trim_front(first);
  if (first.empty()) return true;  // the rest is on other lines
  return list ? first[0] == '{' || first[0] == ']' : first[0] == '"' || first[0] == '}';
}

bool begins_with_whole_object(std::string_view first) {
  trim_front(first);
  if (!first.starts_with('{')) return false;
  const std::size_t end = Nesting().end_in(first);
  return end != first.npos && first.find_first_not_of(white_space, end) == first.npos;
}

bool JsonObjects::read_line() {
  return lines_.next(line_);
}

bool JsonObjects::report(std::string problem) {
  problem_ = std::move(problem);
  return true;
}

void JsonObjects::append(std::string_view part) {
  if (object_.size() + part.size() > most_) too_long_ = true;
  if (!too_long_) object_ += part;
}

bool JsonObjects::next(std::string_view& object) {
  problem_.clear();
  object_.clear();
  too_long_ = false;
  for (;;) {
    trim_front(line_);
    if (line_.empty()) {
      if (read_line()) continue;
      if (!in_list_) return false;
      in_list_ = false;
      ++taken_;
      begun_at_ = lines_.number();
      return report("not JSON: the list does not end; is the file cut off?");
    }
    begun_at_ = lines_.number();
    const char c = line_[0];
    if (in_list_ && c == ']') {
      in_list_ = after_entry_ = false;
    } else if (!in_list_ && c == '[') {
      in_list_ = true;
      after_entry_ = false;
    } else if (in_list_ && after_entry_ && c == ',') {
      after_entry_ = false;
    } else {
      break;
    }
    line_.remove_prefix(1);
  }
  ++taken_;
  const bool missing_comma = in_list_ && after_entry_;
  after_entry_ = in_list_;
  if (line_[0] != '{') return skip_entry();
  if (!read_object()) return true;
  object = object_;
  if (missing_comma) return report("not JSON: a comma is missing before an object");
  return true;
}

// Takes the object that begins here; false after a report.
bool JsonObjects::read_object() {
  for (Nesting nesting;;) {
    const std::size_t end = nesting.end_in(line_);
    append(line_.substr(0, end));
    if (end != line_.npos) {
      line_.remove_prefix(end);
      return true;
    }
    const bool line_ends = lines_.whole();
    line_ = {};
    if (line_ends && nesting.in_string) {
      after_entry_ = false;  // its comma is lost with it
      report("not JSON: a string does not end on its line");
      return false;
    }
    if (line_ends) append("\n");
    if (!read_line()) {
      in_list_ = false;
      report("not JSON: an object does not end; is the file cut off?");
      return false;
    }
  }
}

// Something that is no object: what is left of its line goes with it, up to the next object.
bool JsonObjects::skip_entry() {
  const std::size_t object = line_.find('{');
  line_.remove_prefix(std::min(object, line_.size()));
  if (object == line_.npos) line_ = {};
  after_entry_ = false;
  return report(in_list_ ? "an entry of the list is not an object"
                         : "not JSON: '{' or '[' expected");
}

}  // namespace memengine
