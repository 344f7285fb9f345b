#include "tests/docs/checker/names.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <regex>

#include "tests/docs/checker/calls.h"
#include "tests/docs/checker/words.h"

namespace memengine::prose {
namespace {

const std::regex code_file(R"([\w./*<>{},-]*[\w>*}]\.(h|cpp|cu|cuh|cmake))");
const std::regex other_file(
    R"([\w./*<>{},-]*[\w>*}]\.(md|yaml|json|jsonl|txt|sh|py|png|svg|safetensors|log|html|bin|lst|state|model|pth))");
const std::regex braced(R"([\w./*-]+\{[\w./*, ]+\}[\w./*-]*)");
const std::regex key_value(R"(([A-Za-z_][A-Za-z0-9_.]*(\{[^}]*\})?)(=|: ).*)");
const std::regex dotted(R"([a-z_][a-z0-9_]*(\.[a-z0-9_*]+)*(\.\{[^}]*\})?(\.\*)?)");

bool looks_like_code(const std::string& name, std::string_view text, std::size_t at) {
  if (name.size() < 3) return false;
  const std::size_t underscore = name.find('_', 1);
  if (underscore != std::string::npos && underscore + 1 < name.size()) return true;
  const std::string_view after = text.substr(std::min(at + name.size(), text.size()));
  if (after.starts_with("(") || after.starts_with("::")) return true;
  if (at >= 2 && text.substr(at - 2, 2) == "::") return true;
  for (std::size_t i = 1; i < name.size(); ++i) {
    const bool lower = std::islower(static_cast<unsigned char>(name[i - 1])) != 0;
    if (lower && std::isupper(static_cast<unsigned char>(name[i])) != 0) return true;
  }
  return false;
}

class SpanCheck {
 public:
  SpanCheck(const Page& page, const Tree& tree, const Keys& keys, ForeignNames& foreign)
      : page_(page), tree_(tree), keys_(keys), foreign_(foreign) {}

  // What is wrong with a span, or "".
  std::string complaint(std::string text) {
    if (foreign_.take(text)) return "";
    // kernels/{norm, bag}/ is one word.
    if (std::regex_match(text, braced)) std::erase(text, ' ');
    const std::vector<std::string> words = split_words(text);
    if (words.empty()) return "";
    if (std::string word; command_of(words, word)) return command_complaint(text);
    if (text.starts_with("--")) return options_complaint(words);
    if (words.size() == 1) {
      const std::string& word = words.front();
      if (word.find("://") != std::string::npos) return "";
      if (is_path(word)) return path_complaint(word);
      if (is_key(word)) return keys_.complaint(word);
    }
    if (std::smatch parts; std::regex_match(text, parts, key_value)) {
      return key_values_complaint(words, parts[1], parts[3] == ": ");
    }
    return symbols_complaint(text);
  }

  // "`a/b.h` (52 lines", "`a/b.h`, 52 lines": the file has as many, to a fifth.
  std::string lines_complaint(const Span& span) const {
    static const std::regex count(R"(( \(|, )(\d{1,4}) lines\b.*)");
    std::smatch parts;
    if (!tree_.files().contains(span.text) || !std::regex_match(span.after, parts, count))
      return "";
    const auto lines = static_cast<double>(split_lines(read_text(tree_.root() / span.text)).size());
    if (std::abs(std::stod(parts[2]) - lines) <= lines / 5) return "";
    return "it has " + std::to_string(static_cast<int>(lines)) + " lines, not " + parts[2].str();
  }

 private:
  static bool command_of(const std::vector<std::string>& words, std::string& word) {
    word = words.front();
    if (find_program(words)) return words.size() > 1 || word != "memengine";
    if (words.size() < 2) return false;
    if (word == "make" || word == "cmake" || word == "ctest") return true;
    return is_command(word) && std::any_of(words.begin() + 1, words.end(), [](const auto& one) {
             return one.size() > 1 && one.front() == '-';
           });
  }

  // `memory use | text MODEL` is `memory use MODEL` and `memory text MODEL`.
  static std::vector<std::vector<std::string>> alternatives(const std::string& text) {
    static const std::regex joined(R"((\S+) \| ((\./)?memengine )?)");
    std::vector<std::vector<std::string>> all;
    const std::vector<std::string> words = split_words(text);
    const auto bar = std::find(words.begin(), words.end(), "|");
    if (bar == words.end()) return {words};
    std::size_t first = static_cast<std::size_t>(bar - words.begin()) - 1, last = first;
    std::vector<std::string> choices = {words[first]};
    while (last + 2 < words.size() && words[last + 1] == "|") choices.push_back(words[last += 2]);
    for (const std::string& choice : choices) {
      std::vector<std::string> one(words.begin(),
                                   words.begin() + static_cast<std::ptrdiff_t>(first));
      one.push_back(choice);
      one.insert(one.end(), words.begin() + static_cast<std::ptrdiff_t>(last) + 1, words.end());
      all.push_back(one);
    }
    return all;
  }

  std::string command_complaint(const std::string& text) {
    const bool pipe = text.find(" | ") != std::string::npos &&
                      text.find(" | ") != text.rfind("| ./memengine") - 1 &&
                      text.find("| ./memengine") == std::string::npos;
    for (const std::vector<std::string>& words :
         pipe ? alternatives(text) : std::vector<std::vector<std::string>>{{}}) {
      std::string line = pipe ? "" : text;
      for (const std::string& word : words) line += word + " ";
      for (std::vector<std::string> command : shell_commands(line)) {
        if (is_command(command.front())) command.insert(command.begin(), "memengine");
        if (std::string found = build_tool_complaint(command, tree_); !found.empty()) return found;
        const std::string* program = find_program(command);
        if (!program) continue;
        const std::vector<std::string> arguments(command.begin() + (program - command.data()) + 1,
                                                 command.end());
        if (std::string found = call_complaint(arguments, true, keys_, tree_); !found.empty()) {
          return found;
        }
      }
    }
    return "";
  }

  std::string options_complaint(const std::vector<std::string>& words) {
    for (const std::string& word : words) {
      if (!word.starts_with("--")) continue;
      const std::string name = word.substr(0, word.find('='));
      if (foreign_.take(name)) continue;
      if (std::string found = option_complaint(name); !found.empty()) return found;
    }
    return "";
  }

  bool is_path(const std::string& word) const {
    if (word.find_first_of("~$|\"'=@") != std::string::npos || word.starts_with('/')) return false;
    if (std::regex_match(word, code_file) || std::regex_match(word, other_file)) return true;
    const std::size_t slash = word.find('/');
    return slash != std::string::npos && tree_.is_room(word.substr(0, slash));
  }

  bool is_key(const std::string& word) const {
    return std::regex_match(word, dotted) && keys_.begins_like_a_key(word);
  }

  std::string path_complaint(const std::string& text) {
    const std::string folder = page_.path.substr(0, page_.path.rfind('/') + 1);
    for (const std::string& path : expand_braces(text)) {
      const std::string first = path.substr(0, path.find('/'));
      const bool within = path.find('/') != std::string::npos && tree_.is_room(first);
      if (within ? tree_.has_path(path) : tree_.has_path(folder + path)) continue;
      const bool known = tree_.has_path_ending_with(path);
      if (!within && known) continue;
      if (!within && !std::regex_match(path, code_file)) {
        // A file that the program reads or writes.
        const std::string name = path.substr(path.rfind('/') + 1);
        if (named_in_code(name)) continue;
        if (foreign_.take(name)) continue;
      }
      return "there is no file '" + path + "'" + tree_.nearest_path(path);
    }
    return "";
  }

  // results.json, or the fixed parts of table-<rank>-of-<ranks>.safetensors.
  bool named_in_code(const std::string& name) const {
    if (tree_.code_contains(name)) return true;
    static const std::regex part("<[^>]*>|\\*");
    bool found = false;
    for (std::sregex_token_iterator at(name.begin(), name.end(), part, -1), end; at != end; ++at) {
      if (at->length() < 3) continue;
      found = tree_.code_contains(at->str());
      if (!found) return false;
    }
    return found && name.find_first_of("<*") != std::string::npos;
  }

  // `a=1 b=2`, or `a: 1`.
  std::string key_values_complaint(const std::vector<std::string>& words, const std::string& key,
                                   bool yaml) {
    if (yaml) return foreign_.take(key) ? "" : keys_.complaint(key);
    for (const std::string& word : words) {
      const std::size_t equals = word.find('=');
      if (equals == std::string::npos || equals == 0 || word.front() == '-') continue;
      const std::string name = word.substr(0, equals);
      if (name == "config" || foreign_.take(name)) continue;
      if (std::any_of(name.begin(), name.end(), [](char c) { return std::isupper(c); })) continue;
      if (std::string found = keys_.complaint(name); !found.empty()) return found;
    }
    return "";
  }

  std::string symbols_complaint(const std::string& text) {
    for (const Identifier& word : identifiers(text)) {
      if (!looks_like_code(word.name, text, word.at)) continue;
      if (tree_.has_word(word.name) || foreign_.take(word.name)) continue;
      return "no code has '" + word.name + "'" + nearest(word.name, tree_.words());
    }
    return "";
  }

  const Page& page_;
  const Tree& tree_;
  const Keys& keys_;
  ForeignNames& foreign_;
};

}  // namespace

ForeignNames::ForeignNames(const std::filesystem::path& file) : path_(file.filename().string()) {
  int number = 0;
  for (const std::string& line : split_lines(read_text(file))) {
    ++number;
    if (trimmed(line).empty() || line.starts_with('#')) continue;
    const std::size_t gap = line.find("  ");  // two spaces: a name may have one
    names_[trimmed(line.substr(0, gap))] = {number, false, gap != std::string::npos};
  }
}

bool ForeignNames::take(const std::string& name) {
  const auto found = names_.find(name);
  if (found == names_.end()) return false;
  found->second.used = true;
  return true;
}

Faults ForeignNames::unused() const {
  Faults faults;
  for (const auto& [name, state] : names_) {
    if (!state.used) faults.push_back({path_, state.line, "no page uses '" + name + "' any more"});
    if (!state.has_reason) faults.push_back({path_, state.line, "'" + name + "' has no reason"});
  }
  return faults;
}

Faults check_names(const Page& page, const Tree& tree, const Keys& keys, ForeignNames& foreign) {
  SpanCheck check(page, tree, keys, foreign);
  Faults faults;
  for (const Span& span : page.code) {
    std::string found = check.complaint(span.text);
    if (found.empty()) found = check.lines_complaint(span);
    if (!found.empty()) {
      faults.push_back({page.path, span.line, "`" + span.text + "`: " + found});
    }
  }
  return faults;
}

}  // namespace memengine::prose
