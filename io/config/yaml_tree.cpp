// See yaml_tree.h. The handler below receives the parser's events in document order and keeps the
// chain of open containers; a map's events alternate key, value, key, value.
#include "io/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <fmt/format.h>

#include <sstream>

#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

bool is_null_word(std::string_view word) {
  return word.empty() || word == "~" || word == "null" || word == "Null" || word == "NULL";
}

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& name, const YamlLimits& limits, const std::string& fixed_where)
      : name_(name), limits_(limits), fixed_where_(fixed_where) {}

  YamlNode root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (expects_key()) fail_input("{}: a key is missing before ':'", place(mark));
    YamlNode node;
    node.where = place(mark);
    add(std::move(node));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail_input("{}: YAML aliases (*name) are not supported; write the value out", place(mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& value) override {
    const bool quoted = tag == "!";
    if (expects_key()) {
      Frame& frame = open_.back();
      if (frame.node.child(value)) {
        fail_input("{}: key '{}' is given twice (first at {}); remove one", place(mark),
                   one_line(value), frame.node.child(value)->where);
      }
      frame.key = value;
      frame.has_key = true;
      return;
    }
    YamlNode node;
    node.kind = !quoted && is_null_word(value) ? YamlNode::Kind::null : YamlNode::Kind::scalar;
    node.text = value;
    node.quoted = quoted;
    node.where = place(mark);
    add(std::move(node));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::list, mark);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::map, mark);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    std::string key;
    bool has_key = false;
  };

  std::string place(const YAML::Mark& mark) const {
    return fixed_where_.empty() ? fmt::format("{}:{}", name_, mark.line + 1) : fixed_where_;
  }

  bool expects_key() const {
    return !open_.empty() && open_.back().node.kind == YamlNode::Kind::map && !open_.back().has_key;
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (expects_key()) fail_input("{}: a key must be plain text, not a list or map", place(mark));
    if (open_.size() >= limits_.depth) {
      fail_input("{}: nested deeper than {} levels; a config needs far fewer", place(mark),
                 limits_.depth);
    }
    Frame frame;
    frame.node.kind = kind;
    frame.node.where = place(mark);
    open_.push_back(std::move(frame));
  }

  void close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    add(std::move(node));
  }

  void add(YamlNode node) {
    if (++count_ > limits_.nodes) {
      fail_input("{}: more than {} values; this is not a config", name_, limits_.nodes);
    }
    if (open_.empty()) {
      root = std::move(node);
    } else if (Frame& frame = open_.back(); frame.node.kind == YamlNode::Kind::list) {
      frame.node.items.push_back(std::move(node));
    } else {
      frame.node.children.push_back({std::move(frame.key), std::move(node)});
      frame.has_key = false;
    }
  }

  const std::string& name_;
  const YamlLimits& limits_;
  const std::string& fixed_where_;
  std::vector<Frame> open_;
  std::size_t count_ = 0;
};

}  // namespace

YamlNode* YamlNode::child(std::string_view key) {
  for (auto& [name, node] : children) {
    if (name == key) return &node;
  }
  return nullptr;
}

const YamlNode* YamlNode::child(std::string_view key) const {
  return const_cast<YamlNode*>(this)->child(key);
}

YamlNode parse_yaml(std::string_view text, const std::string& name, const YamlLimits& limits,
                    const std::string& fixed_where) {
  if (text.size() > limits.bytes) {
    fail_input("{}: {} bytes is too large for a config (at most {})", name, text.size(),
               limits.bytes);
  }
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    fail_input("{}: contains a zero byte at offset {}; this is not a text file", name, zero);
  }
  TreeBuilder builder(name, limits, fixed_where);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (parser.HandleNextDocument(builder)) {
      TreeBuilder rest(name, limits, fixed_where);
      if (parser.HandleNextDocument(rest)) {
        fail_input("{}: holds several YAML documents; keep one", name);
      }
    }
  } catch (const YAML::Exception& error) {
    const std::string place = !fixed_where.empty() ? fixed_where
                              : error.mark.is_null()
                                  ? name
                                  : fmt::format("{}:{}", name, error.mark.line + 1);
    fail_input("{}: not valid YAML: {}", place, one_line(error.msg));
  }
  return std::move(builder.root);
}

std::string yaml_quote(std::string_view text) {
  // Plain only where nothing could be read as another type or as syntax.
  bool plain = !text.empty();
  bool has_letter = false;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '/';
    const bool other = (c >= '0' && c <= '9') || c == '.' || c == '-';
    has_letter |= letter;
    plain &= letter || other;
  }
  const char first = text.empty() ? '-' : text.front();
  plain &= has_letter && first != '-' && first != '.' && !(first >= '0' && first <= '9');
  for (const std::string_view word :
       {"null",  "Null", "NULL", "true", "True", "TRUE", "false", "False",
        "FALSE", "yes",  "Yes",  "YES",  "no",   "No",   "NO",    "on",
        "On",    "ON",   "off",  "Off",  "OFF",  "nan",  "inf"}) {
    plain &= text != word;
  }
  if (plain) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 32 || c == 127) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace memengine
