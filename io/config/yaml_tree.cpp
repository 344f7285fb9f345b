// See yaml_tree.h. The handler below receives the parser's events in document order and keeps the
// chain of open containers; a map's events alternate key, value, key, value.
#include "io/config/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "io/text/ascii.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

bool is_null_word(std::string_view word) {
  return word.empty() || word == "~" || word == "null" || word == "Null" || word == "NULL";
}

struct Extent {
  std::size_t nodes = 1, depth = 0;  // depth: 0 of a scalar
};

Extent extent_of(const YamlNode& node) {
  Extent all;
  const auto include = [&all](const YamlNode& child) {
    const Extent part = extent_of(child);
    all.nodes += part.nodes;
    all.depth = std::max(all.depth, part.depth);
  };
  for (const YamlNode& item : node.items) include(item);
  for (const YamlEntry& entry : node.children) include(entry.value);
  if (node.kind == YamlNode::Kind::list || node.kind == YamlNode::Kind::map) ++all.depth;
  return all;
}

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& name, const YamlLimits& limits, const std::string& fixed_where)
      : name_(name), limits_(limits), fixed_where_(fixed_where) {}

  YamlNode root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (expects_key()) fail_input("{}: a key is missing before ':'", place(mark));
    YamlNode node;
    node.where = place(mark);
    add(std::move(node), anchor);
  }

  // A copy of what the anchor names, counted like values that are written out.
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (expects_key()) fail_input("{}: a key must be plain text, not an alias", place(mark));
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      fail_input("{}: this alias stands inside the value that it names", place(mark));
    }
    const Extent extent = extent_of(found->second);
    check_depth(open_.size() + extent.depth, mark);
    count(extent.nodes - 1);
    add(YamlNode(found->second));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool quoted = tag == "!";
    if (expects_key()) {
      Frame& frame = open_.back();
      if (value == "<<" && !quoted) {
        frame.merges = frame.has_key = true;
        return;
      }
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
    add(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::list, mark, anchor);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(YamlNode::Kind::map, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlNode node;
    YAML::anchor_t anchor = YAML::NullAnchor;
    std::string key;
    bool has_key = false;
    bool merges = false;           // the value to come is that of `<<`
    std::vector<YamlNode> merged;  // maps whose keys come in where the map has none of its own
  };

  std::string place(const YAML::Mark& mark) const {
    return fixed_where_.empty() ? fmt::format("{}:{}", name_, mark.line + 1) : fixed_where_;
  }

  bool expects_key() const {
    return !open_.empty() && open_.back().node.kind == YamlNode::Kind::map && !open_.back().has_key;
  }

  void check_depth(std::size_t depth, const YAML::Mark& mark) const {
    if (depth > limits_.depth) {
      fail_input("{}: nested deeper than {} levels; a config needs far fewer", place(mark),
                 limits_.depth);
    }
  }

  void count(std::size_t more) {
    count_ += more;
    if (count_ > limits_.nodes) {
      fail_input("{}: more than {} values; this is not a config", name_, limits_.nodes);
    }
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (expects_key()) fail_input("{}: a key must be plain text, not a list or map", place(mark));
    check_depth(open_.size() + 1, mark);
    Frame frame;
    frame.anchor = anchor;
    frame.node.kind = kind;
    frame.node.where = place(mark);
    open_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(open_.back());
    open_.pop_back();
    for (YamlNode& source : frame.merged) {
      for (YamlEntry& entry : source.children) {
        if (!frame.node.child(entry.key)) frame.node.children.push_back(std::move(entry));
      }
    }
    add(std::move(frame.node), frame.anchor);
  }

  void add(YamlNode node, YAML::anchor_t anchor = YAML::NullAnchor) {
    count(1);
    if (anchor != YAML::NullAnchor) anchors_[anchor] = node;
    if (open_.empty()) {
      root = std::move(node);
    } else if (Frame& frame = open_.back(); frame.node.kind == YamlNode::Kind::list) {
      frame.node.items.push_back(std::move(node));
    } else if (frame.merges) {
      merge(frame, std::move(node));
      frame.merges = frame.has_key = false;
    } else {
      frame.node.children.push_back({std::move(frame.key), std::move(node)});
      frame.has_key = false;
    }
  }

  // The value of `<<`: a map, or a list of maps of which an earlier one wins.
  static void merge(Frame& frame, YamlNode node) {
    const std::string where = node.where;
    std::vector<YamlNode> sources;
    if (node.kind == YamlNode::Kind::list) {
      sources = std::move(node.items);
    } else {
      sources.push_back(std::move(node));
    }
    for (YamlNode& source : sources) {
      if (source.kind != YamlNode::Kind::map) {
        fail_input("{}: '<<' takes a map or a list of maps, such as <<: *name", where);
      }
      frame.merged.push_back(std::move(source));
    }
  }

  const std::string& name_;
  const YamlLimits& limits_;
  const std::string& fixed_where_;
  std::vector<Frame> open_;
  std::map<YAML::anchor_t, YamlNode> anchors_;
  std::size_t count_ = 0;
};

// A tab in the indentation, which YAML forbids, makes its parser say strange things: the first line
// (counted from 1) that has one, or 0.
int tabbed_line(std::string_view text) {
  int line = 1;
  bool indentation = true;
  for (const char c : text) {
    if (c == '\t' && indentation) return line;
    if (c == '\n') ++line;
    indentation = c == '\n' || (indentation && c == ' ');
  }
  return 0;
}

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
    if (const int line = tabbed_line(text); line > 0 && fixed_where.empty()) {
      fail_input("{}:{}: a tab in the indentation; YAML wants spaces", name, line);
    }
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
    const bool letter = is_letter(c) || c == '_' || c == '/';
    const bool other = is_digit(c) || c == '.' || c == '-';
    has_letter |= letter;
    plain &= letter || other;
  }
  const char first = text.empty() ? '-' : text.front();
  plain &= has_letter && first != '-' && first != '.' && !is_digit(first);
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
