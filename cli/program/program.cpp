#include "cli/program/program.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "io/config/yaml_values.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/gpu_code.h"

namespace memengine {

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
  return program;
}

void check_command(const CLI::App& program, const std::string& word) {
  if (word.starts_with('-')) return;
  std::string nearest;
  for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string& name = command->get_name();
    if (name == word) return;
    if (nearest.empty() || edit_distance(word, name) < edit_distance(word, nearest)) nearest = name;
  }
  fail_input("there is no command '{}'; the nearest is '{}' (see memengine --help)", word, nearest);
}

}  // namespace memengine
