// See interpolation.h. Values are expanded on demand, each once: one that is referred to before its
// turn is expanded first, and one that is met again while it is being expanded refers to itself.
#include "io/config/interpolation.h"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "io/config/yaml_values.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Kind = YamlNode::Kind;
// From the root to a node, both included.
using Chain = std::vector<YamlNode*>;

constexpr std::size_t max_text = 4096;  // characters of one expanded value

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

std::size_t count_nodes(const YamlNode& node) {
  std::size_t count = 1;
  for (const YamlNode& item : node.items) count += count_nodes(item);
  for (const YamlEntry& entry : node.children) count += count_nodes(entry.value);
  return count;
}

YamlNode scalar(std::string_view text) {
  YamlNode node;
  node.kind = text == "null" ? Kind::null : Kind::scalar;
  node.text = text;
  return node;
}

class Interpolation {
 public:
  Interpolation(YamlNode& root, const YamlNode& defaults, const YamlLimits& limits)
      : root_(root), defaults_(defaults), limits_(limits) {}

  void expand(const Chain& chain) {
    YamlNode& node = *chain.back();
    if (done_.contains(&node)) return;
    if (!active_.insert(&node).second) {
      fail_input("{}: {} refers to itself", node.where, yaml_shown(node));
    }
    if (active_.size() > 4 * limits_.depth) {
      fail_input("{}: references to references, deeper than a config needs", node.where);
    }
    if (node.kind == Kind::scalar) {
      if (node.text.find("${") != std::string::npos) expand_scalar(node, chain);
    } else {
      for (YamlNode& item : node.items) expand(longer(chain, item));
      for (YamlEntry& entry : node.children) expand(longer(chain, entry.value));
    }
    active_.erase(&node);
    done_.insert(&node);
  }

 private:
  static Chain longer(Chain chain, YamlNode& node) {
    chain.push_back(&node);
    return chain;
  }

  void expand_scalar(YamlNode& node, const Chain& chain) {
    const std::string text = node.text;
    if (text.starts_with("${") && closing(text, 2, node) + 1 == text.size()) {
      YamlNode value = reference(text.substr(2, text.size() - 3), node, chain);
      copied_ += count_nodes(value);
      if (copied_ > limits_.nodes) {
        fail_input("{}: interpolation makes more than {} values; this is not a config", node.where,
                   limits_.nodes);
      }
      value.where = node.where;
      node = std::move(value);
    } else {
      node.text = expand_text(text, node, chain);
    }
  }

  // Position of the brace that closes the one opened just before `at`.
  static std::size_t closing(std::string_view text, std::size_t at, const YamlNode& node) {
    int open = 1;
    for (; at < text.size(); ++at) {
      if (text.substr(at).starts_with("${"))
        ++open, ++at;
      else if (text[at] == '}' && --open == 0)
        return at;
    }
    fail_input("{}: {} has no closing brace; write \\${{ for the characters themselves", node.where,
               yaml_shown(node));
  }

  std::string expand_text(std::string_view text, const YamlNode& node, const Chain& chain) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text.substr(at).starts_with("\\${")) {
        out += "${";
        at += 2;
      } else if (text.substr(at).starts_with("${")) {
        const std::size_t end = closing(text, at + 2, node);
        const std::string_view inside = text.substr(at + 2, end - at - 2);
        const YamlNode value = reference(inside, node, chain);
        if (value.kind != Kind::scalar) {
          fail_input("{}: ${{{}}} is {}, which cannot stand within text", node.where,
                     one_line(inside, 60), yaml_shown(value));
        }
        out += value.text;
        at = end;
      } else {
        out += text[at];
      }
      if (out.size() > max_text) {
        fail_input("{}: interpolation makes more than {} characters; this is not a config",
                   node.where, max_text);
      }
    }
    return out;
  }

  // What `${inside}` stands for.
  YamlNode reference(std::string_view inside, const YamlNode& node, const Chain& chain) {
    const std::string whole = expand_text(inside, node, chain);
    const std::string_view name = trimmed(whole);
    if (const std::size_t colon = name.find(':'); colon != std::string_view::npos) {
      return variable(name.substr(0, colon), name.substr(colon + 1), node);
    }
    return key(name, node, chain);
  }

  static YamlNode variable(std::string_view resolver, std::string_view text, const YamlNode& node) {
    if (resolver != "oc.env" && resolver != "env") {
      fail_input("{}: ${{{}:...}} is not known here; there are ${{a.key}} and ${{oc.env:VARIABLE}}",
                 node.where, one_line(resolver, 60));
    }
    const std::size_t comma = text.find(',');
    const std::string name(trimmed(text.substr(0, comma)));
    if (const char* value = std::getenv(name.c_str())) return scalar(value);
    if (comma == std::string_view::npos) {
      fail_input(
          "{}: the environment has no variable '{}'; set it, or give a default: "
          "${{oc.env:{},default}}",
          node.where, one_line(name, 60), one_line(name, 60));
    }
    std::string_view fallback = trimmed(text.substr(comma + 1));
    if (fallback.size() >= 2 && (fallback.front() == '"' || fallback.front() == '\'') &&
        fallback.front() == fallback.back()) {
      fallback = fallback.substr(1, fallback.size() - 2);
    }
    return scalar(fallback);
  }

  YamlNode key(std::string_view name, const YamlNode& node, const Chain& chain) {
    // One dot is the map that the value stands in, each further one the map above.
    const std::size_t dots = std::min(name.find_first_not_of('.'), name.size());
    if (dots >= chain.size() || dots == name.size()) {
      fail_input("{}: ${{{}}} names no key", node.where, one_line(name, 60));
    }
    Chain path = {&root_};
    if (dots > 0) path.assign(chain.begin(), chain.end() - static_cast<std::ptrdiff_t>(dots));
    const std::string_view parts = name.substr(dots);
    for (std::size_t start = 0; start <= parts.size();) {
      const std::size_t end = std::min(parts.find('.', start), parts.size());
      if (path.back()->kind == Kind::scalar) expand(path);
      YamlNode* next = path.back()->child(parts.substr(start, end - start));
      if (next == nullptr) return fallback(name, dots, node);
      path.push_back(next);
      start = end + 1;
    }
    expand(path);
    return *path.back();
  }

  YamlNode fallback(std::string_view name, std::size_t dots, const YamlNode& node) const {
    const YamlNode* found = dots == 0 ? &defaults_ : nullptr;
    for (std::size_t start = 0; found != nullptr && start <= name.size();) {
      const std::size_t end = std::min(name.find('.', start), name.size());
      found = found->child(name.substr(start, end - start));
      start = end + 1;
    }
    if (found == nullptr) {
      fail_input("{}: ${{{}}}: the config has no such key", node.where, one_line(name, 60));
    }
    return *found;
  }

  YamlNode& root_;
  const YamlNode& defaults_;
  const YamlLimits& limits_;
  std::set<const YamlNode*> active_, done_;
  std::size_t copied_ = 0;
};

}  // namespace

void interpolate(YamlNode& root, const YamlNode& defaults, const YamlLimits& limits) {
  Interpolation(root, defaults, limits).expand({&root});
}

}  // namespace memengine
