#include "tests/docs/checker/printed.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <regex>

#include "tests/docs/checker/calls.h"
#include "tests/docs/checker/words.h"
#include "tests/io/temporary_folder.h"

namespace memengine::prose {
namespace {

// Times and speeds, and the columns that they widen, are not compared.
std::string comparable(const std::string& line) {
  static const std::regex timed(
      R"((\d[\d.,]*[kMG]?)(?= ?(ms|s|m|h|tok/s|tokens/s|MB/s|GB/s|MiB/s|GiB/s|steps/s)\b))");
  static const std::regex gaps(" +");
  return trimmed(std::regex_replace(std::regex_replace(line, timed, "#"), gaps, " "));
}

// `...` in the pattern stands for any text.
bool line_fits(const std::string& pattern, const std::string& line) {
  const std::size_t dots = pattern.find("...");
  if (dots == std::string::npos) return pattern == line;
  if (!line.starts_with(pattern.substr(0, dots))) return false;
  const std::string rest = pattern.substr(dots + 3);
  for (std::size_t at = dots; at <= line.size(); ++at) {
    if (line_fits(rest, line.substr(at))) return true;
  }
  return false;
}

int difference(const std::vector<std::string>& shown, std::size_t i,
               const std::vector<std::string>& printed, std::size_t j) {
  for (; i < shown.size(); ++i, ++j) {
    if (shown[i] == "...") {
      int furthest = static_cast<int>(i);
      for (std::size_t from = j; from <= printed.size(); ++from) {
        const int result = difference(shown, i + 1, printed, from);
        if (result < 0) return -1;
        furthest = std::max(furthest, result);
      }
      return furthest;
    }
    if (j == printed.size() || !line_fits(shown[i], printed[j])) return static_cast<int>(i);
  }
  return j == printed.size() ? -1 : static_cast<int>(i);
}

struct Ended {
  int code = 0;
  std::string printed;
};

Ended run_shell(const std::filesystem::path& folder, const std::string& command) {
  const std::string line = "cd '" + folder.string() +
                           "' && PATH=\"$PWD:$PATH\" OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive "
                           "CUDA_VISIBLE_DEVICES= /bin/sh -c '" +
                           std::regex_replace(command, std::regex("'"), "'\\''") +
                           "' 2>&1 </dev/null";
  Ended ended;
  std::FILE* pipe = ::popen(line.c_str(), "r");
  if (!pipe) return {127, "cannot start /bin/sh"};
  std::array<char, 4096> part{};
  while (const std::size_t read = std::fread(part.data(), 1, part.size(), pipe)) {
    ended.printed.append(part.data(), read);
  }
  const int status = ::pclose(pipe);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

// The lines of a block after each command, until the next.
std::vector<std::vector<std::string>> shown_after(const Block& block) {
  std::vector<std::vector<std::string>> shown;
  bool continued = false;
  for (const std::string& line : block.lines) {
    const bool command = line.starts_with("$ ");
    if (command) shown.emplace_back();
    if (!command && !continued && !shown.empty()) shown.back().push_back(line);
    continued = (command || continued) && line.ends_with('\\');
  }
  for (std::vector<std::string>& lines : shown) {
    while (!lines.empty() && trimmed(lines.back()).empty()) lines.pop_back();
  }
  return shown;
}

}  // namespace

int first_difference(const std::vector<std::string>& shown,
                     const std::vector<std::string>& printed) {
  std::vector<std::string> left, right;
  for (const std::string& line : shown) left.push_back(comparable(line));
  for (const std::string& line : printed) right.push_back(comparable(line));
  while (!right.empty() && right.back().empty()) right.pop_back();
  return difference(left, 0, right, 0);
}

Faults check_printed(const Page& page, const std::filesystem::path& root,
                     const std::filesystem::path& program) {
  Faults faults;
  TemporaryFolder folder;
  for (const char* name : {"configs", "docs", "tests"}) {
    std::filesystem::create_directory_symlink(root / name, folder / name);
  }
  std::filesystem::create_symlink(program, folder / "memengine");
  std::filesystem::create_directory_symlink(program.parent_path(), folder / "build");
  for (const Block& block : page.blocks) {
    if (const std::string name = block.mark_value("file"); !name.empty()) {
      std::string text;
      for (const std::string& line : block.lines) text += line + "\n";
      folder.write(name, text);
    }
    if (!block.has_mark("run")) continue;
    const std::string value = block.mark_value("run");
    const int last_code = value.starts_with("exit ") ? std::atoi(value.c_str() + 5) : 0;
    const std::vector<Span> commands = block_commands(block);
    const std::vector<std::vector<std::string>> shown = shown_after(block);
    if (commands.empty() || commands.size() != shown.size()) {
      faults.push_back({page.path, block.line, "a block to run needs lines '$ command'"});
      continue;
    }
    for (std::size_t i = 0; i < commands.size(); ++i) {
      const Ended ended = run_shell(folder.path(), commands[i].text);
      const int code = i + 1 == commands.size() ? last_code : 0;
      const std::vector<std::string> printed = split_lines(ended.printed);
      if (ended.code != code) {
        faults.push_back({page.path, commands[i].line,
                          "ended with " + std::to_string(ended.code) + ", not " +
                              std::to_string(code) + ": " + commands[i].text + " -> " +
                              (printed.empty() ? "" : printed.back())});
        break;
      }
      const int at = first_difference(shown[i], printed);
      if (at < 0) continue;
      const auto index = static_cast<std::size_t>(at);
      const std::string expected =
          index < shown[i].size() ? "'" + shown[i][index] + "'" : "its end";
      const std::string got = index < printed.size() ? "'" + printed[index] + "'" : "nothing more";
      faults.push_back({page.path, commands[i].line + at + 1,
                        "shows " + expected + " where the command prints " + got});
    }
  }
  return faults;
}

}  // namespace memengine::prose
