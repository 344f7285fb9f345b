#include "tests/docs/checker/calls.h"

#include <algorithm>
#include <functional>
#include <regex>
#include <set>
#include <span>

#include "cli/program/program.h"
#include "engine/config/config.h"
#include "engine/study/study.h"
#include "kernels/runtime/error.h"
#include "tests/docs/checker/words.h"

namespace memengine::prose {
namespace {

void for_all_commands(CLI::App& app, const std::function<void(CLI::App&)>& act) {
  act(app);
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    for_all_commands(*command, act);
  }
}

// The command that these arguments call, or the program.
CLI::App& called(CLI::App& program, const std::vector<std::string>& arguments) {
  CLI::App* command = &program;
  for (const std::string& word : arguments) {
    const std::vector<CLI::App*> below =
        command->get_subcommands([&](CLI::App* one) { return one->get_name() == word; });
    if (below.empty()) break;
    command = below.front();
  }
  return *command;
}

std::set<std::string> options_of(CLI::App& command) {
  std::set<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.insert("--" + name);
    for (const std::string& name : option->get_snames()) names.insert("-" + name);
  }
  return names;
}

// A word that stands for others: COMMAND, <name>, $HOME, a.*, RUN...
bool is_metavariable(const std::string& word) {
  return word.find_first_of("<>$*") != std::string::npos || word.find("...") != std::string::npos ||
         (!word.empty() && std::all_of(word.begin(), word.end(), [](char letter) {
           return std::isupper(static_cast<unsigned char>(letter)) || letter == '_';
         }));
}

// [a.b=value ...] RUN... -> a.b=value RUN
std::vector<std::string> without_notation(const std::vector<std::string>& words) {
  std::vector<std::string> kept;
  for (std::string word : words) {
    const bool pattern = word.find_first_of("'\"{(") != std::string::npos;
    if (!pattern) std::erase_if(word, [](char letter) { return letter == '[' || letter == ']'; });
    if (word.ends_with("...")) word.resize(word.size() - 3);
    if (!word.empty() && word != ",") kept.push_back(word);
  }
  return kept;
}

// What the config reader says of a call's config and overrides, or the study's loader of its study,
// where the file is in the tree.
std::string config_complaint(const std::string& command, const std::vector<std::string>& words,
                             const Tree& tree) {
  std::string path;
  std::vector<std::string> overrides;
  for (const std::string& word : words) {
    if (is_metavariable(word)) return "";
    if (word.find('=') != std::string::npos) {
      overrides.push_back(word);
    } else if (word.ends_with(".yaml") && path.empty()) {
      path = word;
    }
  }
  if (!tree.files().contains(path)) return "";
  const bool is_study = path.starts_with("configs/studies/");
  path = (tree.root() / path).string();
  try {
    if (is_study) {
      StudyChanges changes;
      changes.overrides = overrides;
      load_study(path, changes);
    } else if (command == "eval" || (command == "inspect" && is_eval_config(path, overrides))) {
      load_eval_config(path, overrides);
    } else {
      load_run_config(path, overrides);
    }
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

std::vector<std::vector<std::string>> shell_commands(const std::string& line) {
  std::vector<std::vector<std::string>> commands(1);
  std::string word;
  bool in_word = false, skip = false;
  const auto end_word = [&] {
    if (in_word && !skip) commands.back().push_back(word);
    if (in_word) skip = false;
    word.clear();
    in_word = false;
  };
  for (std::size_t at = 0; at < line.size(); ++at) {
    const char letter = line[at];
    if (letter == '\'' || letter == '"') {
      in_word = true;
      for (++at; at < line.size() && line[at] != letter; ++at) {
        if (letter == '"' && line[at] == '\\' && at + 1 < line.size()) ++at;
        word += line[at];
      }
    } else if (letter == '\\' && at + 1 < line.size()) {
      in_word = true;
      word += line[++at];
    } else if (letter == '#' && !in_word) {
      break;
    } else if (letter == '|' || letter == ';' || letter == '&') {
      end_word();
      if (!commands.back().empty()) commands.emplace_back();
    } else if (letter == '>' || (letter == '<' && line.substr(at, 2) != "<(")) {
      if (const std::size_t close = line.find('>', at);
          letter == '<' && close != std::string::npos &&
          line.substr(at, close - at).find(' ') == std::string::npos) {
        in_word = true;  // <metavariable>
        word += line.substr(at, close - at + 1);
        at = close;
        continue;
      }
      if (!word.empty() && word.find_first_not_of("0123456789") == std::string::npos)
        word.clear(), in_word = false;
      end_word();
      skip = true;
    } else if (std::isspace(static_cast<unsigned char>(letter))) {
      end_word();
    } else {
      in_word = true;
      word += letter;
    }
  }
  end_word();
  if (commands.back().empty()) commands.pop_back();
  return commands;
}

const std::string* find_program(const std::vector<std::string>& command) {
  static const std::set<std::string> starters = {"mpirun", "srun",    "torchrun", "env",
                                                 "time",   "timeout", "nohup",    "sudo"};
  bool may_follow = true;
  for (const std::string& word : command) {
    if (may_follow && (word == "memengine" || word.ends_with("/memengine"))) return &word;
    if (&word != &command.front() || word.find('=') != std::string::npos) continue;
    may_follow = starters.contains(word);
  }
  return nullptr;
}

std::string call_complaint(std::vector<std::string> arguments, bool bare, const Keys& keys,
                           const Tree& tree) {
  bool elided = bare;
  for (const std::string& word : arguments)
    elided = elided || word == "..." || is_metavariable(word);
  if (elided) arguments = without_notation(arguments);
  if (!arguments.empty() && is_metavariable(arguments.front())) return "";  // memengine COMMAND
  const std::unique_ptr<CLI::App> program = make_program();
  for_all_commands(*program, [&](CLI::App& command) {
    if (!elided) return;
    command.require_subcommand(0);
    for (CLI::Option* option : command.get_options()) option->required(false);
  });
  // When all is read and nothing has run. (The commands' own callbacks hold what options are read
  // into, so they stay.)
  program->parse_complete_callback([] { throw CLI::Success(); });
  try {
    called_command(*program,
                   std::span(arguments).first(std::min<std::size_t>(arguments.size(), 1)));
  } catch (const Error& error) {
    return error.what();
  }
  CLI::App& command = called(*program, arguments);
  if (&command != program.get() &&
      !command.get_subcommands([](CLI::App*) { return true; }).empty() && arguments.size() > 1 &&
      !arguments[1].starts_with('-')) {
    std::set<std::string> below;
    for (CLI::App* one : command.get_subcommands([](CLI::App*) { return true; })) {
      below.insert(one->get_name());
    }
    if (!is_metavariable(arguments[1])) {
      return "memengine " + arguments[0] + " has no '" + arguments[1] + "'" +
             nearest(arguments[1], below);
    }
  }
  const std::set<std::string> options = options_of(command);
  for (std::string& word : arguments) {
    if (word.size() > 2 && word.starts_with("--")) {
      const std::string name = word.substr(0, word.find('='));
      if (!options.contains(name)) {
        return "memengine " + command.get_name() + " has no option '" + name + "'" +
               nearest(name, options);
      }
    } else if (elided && is_metavariable(word)) {
      word = "1";
    } else if (const std::size_t bar = word.find('|');
               elided && bar != std::string::npos && word.find(' ') == std::string::npos) {
      word.resize(bar);
    }
  }
  const std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    program->parse(std::vector<std::string>(reversed));
  } catch (const CLI::ArgumentMismatch& error) {
    // `report -o`: an option named without its value.
    if (!bare || !reversed.front().starts_with('-')) {
      return std::string("memengine says: ") + error.what();
    }
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) return std::string("memengine says: ") + error.what();
  }
  static const std::set<std::string> takes_keys = {"train", "eval", "inspect", "bench", "demo"};
  if (arguments.empty() || !takes_keys.contains(arguments.front())) return "";
  static const std::regex override_form("[A-Za-z_][A-Za-z0-9_.]*=.*");
  for (const std::string& word : arguments) {
    if (!std::regex_match(word, override_form) || word.starts_with("config=")) continue;
    if (bare && (word == "a.b=value" || word == "a.b=c")) continue;
    const std::string key = word.substr(0, word.find('='));
    if (std::string complaint = keys.complaint(key); !complaint.empty()) return complaint;
  }
  return config_complaint(arguments.front(), arguments, tree);
}

bool is_command(const std::string& word) {
  static const std::set<std::string> names = [] {
    std::set<std::string> all;
    const std::unique_ptr<CLI::App> program = make_program();
    for (CLI::App* command : program->get_subcommands([](CLI::App*) { return true; })) {
      all.insert(command->get_name());
    }
    return all;
  }();
  return names.contains(word);
}

std::string option_complaint(const std::string& option) {
  static const std::set<std::string> names = [] {
    std::set<std::string> all;
    const std::unique_ptr<CLI::App> program = make_program();
    for_all_commands(*program, [&](CLI::App& command) { all.merge(options_of(command)); });
    return all;
  }();
  if (names.contains(option)) return "";
  return "no command has an option '" + option + "'" + nearest(option, names);
}

std::string build_tool_complaint(const std::vector<std::string>& command, const Tree& tree) {
  if (command.size() < 2) return "";
  if (command[0] == "make") {
    std::set<std::string> targets;
    for (const std::string& line : split_lines(read_text(tree.root() / "Makefile"))) {
      if (!line.starts_with(".PHONY:")) continue;
      for (const std::string& word : split_words(line.substr(7))) targets.insert(word);
    }
    for (std::size_t i = 1; i < command.size(); ++i) {
      if (command[i].find('=') == std::string::npos && !command[i].starts_with('-') &&
          !targets.contains(command[i])) {
        return "the Makefile has no '" + command[i] + "'" + nearest(command[i], targets);
      }
    }
  }
  if (command[0] == "cmake" || command[0] == "ctest") {
    const std::string presets = read_text(tree.root() / "CMakePresets.json");
    const auto flag = std::find(command.begin(), command.end(), "--preset");
    if (flag != command.end() && flag + 1 != command.end() &&
        presets.find("\"name\": \"" + *(flag + 1) + "\"") == std::string::npos) {
      return "CMakePresets.json has no '" + *(flag + 1) + "'";
    }
  }
  return "";
}

std::vector<Span> block_commands(const Block& block) {
  static const std::set<std::string> shells = {"sh", "bash", "console", "shell"};
  const bool typed = std::any_of(block.lines.begin(), block.lines.end(),
                                 [](const std::string& line) { return line.starts_with("$ "); });
  std::vector<Span> commands;
  bool continued = false;
  for (std::size_t i = 0; i < block.lines.size(); ++i) {
    std::string line = block.lines[i];
    const std::string words = trimmed(line);
    const bool ours = words.starts_with("memengine ") || words.starts_with("./memengine ");
    const bool begins = typed ? line.starts_with("$ ") : shells.contains(block.language) || ours;
    if (typed && begins) line = line.substr(2);
    if (!continued && !begins) continue;
    const bool goes_on = line.ends_with('\\');
    if (goes_on) line.pop_back();
    if (continued) {
      commands.back().text += line;
    } else {
      commands.push_back({block.line + static_cast<int>(i), line});
    }
    continued = goes_on || (!typed && trimmed(line).ends_with('|'));
    if (continued && !goes_on) commands.back().text += ' ';
  }
  return commands;
}

}  // namespace memengine::prose
