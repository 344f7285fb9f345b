// One file per command: each adds its subcommand to the program.
//
// A command's file reads arguments, calls the engine, and says in words what happened. Errors
// travel up to main.cpp as exceptions.
#pragma once

#include <CLI/CLI.hpp>

namespace memengine {

void add_bench_command(CLI::App& program);
void add_compare_command(CLI::App& program);
void add_course_command(CLI::App& program);
void add_demo_command(CLI::App& program);
void add_eval_command(CLI::App& program);
void add_export_command(CLI::App& program);
void add_generate_command(CLI::App& program);
void add_inspect_command(CLI::App& program);
void add_memory_command(CLI::App& program);
void add_prepare_command(CLI::App& program);
void add_report_command(CLI::App& program);
void add_study_command(CLI::App& program);
void add_synth_command(CLI::App& program);
void add_tokenize_command(CLI::App& program);
void add_train_command(CLI::App& program);

}  // namespace memengine
