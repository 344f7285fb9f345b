#include "cli/program/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "io/config/yaml_values.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/gpu_code.h"

namespace memengine {
namespace {

// Words that may be empty: a user's text, and overrides, which say themselves what they need.
constexpr const char* free_texts[] = {"text", "--text", "--prompt", "--answer", "overrides"};

// No number, no size and no name of a file is empty. CLI11 reads an empty argument as zero, and to
// the file system the empty path is none at all.
void refuse_empty(CLI::App& app) {
  const auto check = [](const std::string& text) {
    return std::string(text.empty() ? "'' is empty: give it a value or leave it out" : "");
  };
  for (CLI::Option* option : app.get_options()) {
    const bool is_flag = option->get_items_expected_max() == 0;
    const bool is_free =
        std::any_of(std::begin(free_texts), std::end(free_texts), [&](const char* name) {
          return option->check_name(name) || option->get_name(true) == name;
        });
    if (!is_flag && !is_free) option->check(CLI::Validator(check, ""));
    // CLI11 reads -1 as the largest of the unsigned numbers.
    if (option->get_type_name().starts_with("UINT")) option->check(at_least(0));
  }
  for (CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    refuse_empty(*command);
  }
}

}  // namespace

std::unique_ptr<CLI::App> make_program() {
  auto program = std::make_unique<CLI::App>(
      "memengine trains and evaluates transformers with product-key memory layers whose value "
      "table lives in host memory.",
      "memengine");
  program->set_version_flag(
      "--version",
      fmt::format("memengine {}\nGPU code: {}", MEMENGINE_VERSION, memengine::describe_gpu_code()));
  program->require_subcommand(1);
  program->get_formatter()->column_width(36);
  program->footer(
      "Exit codes: 0 done; 2 the input is wrong; 3 training was stopped by bad numbers; 1 anything "
      "else;\n128 + n stopped by signal n with work left (130 Ctrl-C, 143 SIGTERM, 138 SIGUSR1, "
      "140 "
      "SIGUSR2):\nthe same command goes on.");
  add_prepare_command(*program);
  add_tokenize_command(*program);
  add_train_command(*program);
  add_eval_command(*program);
  add_generate_command(*program);
  add_export_command(*program);
  add_study_command(*program);
  add_report_command(*program);
  add_compare_command(*program);
  add_inspect_command(*program);
  add_memory_command(*program);
  add_synth_command(*program);
  add_demo_command(*program);
  add_course_command(*program);
  add_bench_command(*program);
  refuse_empty(*program);
  return program;
}

std::string called_command(const CLI::App& program, std::span<const std::string> words) {
  const CLI::App* at = &program;
  std::string called;  // "memory "
  for (const std::string& word : words) {
    const auto commands = at->get_subcommands([](const CLI::App*) { return true; });
    if (commands.empty() || word.starts_with('-')) break;
    const CLI::App* next = nullptr;
    std::string nearest;
    for (const CLI::App* command : commands) {
      const std::string& name = command->get_name();
      if (name == word) next = command;
      if (nearest.empty() || edit_distance(word, name) < edit_distance(word, nearest)) {
        nearest = name;
      }
    }
    if (next == nullptr) {
      fail_input("there is no command '{0}{1}'; the nearest is '{0}{2}' (see memengine {0}--help)",
                 called, word, nearest);
    }
    called += word + " ";
    at = next;
  }
  return called;
}

}  // namespace memengine
