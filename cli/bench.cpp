// memengine bench: speed of the machine, of every op, and of whole training steps.
#include "engine/bench/bench.h"

#include <fmt/core.h>

#include <cstdio>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

struct Arguments {
  bench::BenchOptions options;
  std::string device = "auto";
};

void run(Arguments arguments) {
  bench::BenchOptions& options = arguments.options;
  options.device = choose_device(arguments.device);
  if (!options.ceilings && !options.ops && !options.steps && !options.decode &&
      options.profiled.empty()) {
    options.ceilings = options.ops = options.steps = true;
  }
  bench::run_bench(options, [](const std::string& line) {
    print("{}\n", Lines{line});
    std::fflush(stdout);
  });
}

}  // namespace

void add_bench_command(CLI::App& program) {
  CLI::App* command =
      program.add_subcommand("bench", "Measure the machine, every op, and whole training steps");
  command->footer(
      "Without --ceilings, --ops, --steps, --decode or --profile-ops: all of the first three.\n\n"
      "  memengine bench --steps --case zero_copy_1m --case memory_373m\n"
      "  memengine bench --ops --config configs/memory_recipe.yaml data.batch_size=8\n"
      "  memengine bench --decode --case dense_373m\n"
      "  memengine bench --profile-ops memory_373m --json bench.json");
  auto arguments = std::make_shared<Arguments>();
  bench::BenchOptions& options = arguments->options;
  command->add_option("overrides", options.overrides, "a.b.c=value, for --config");
  command->add_option("--device", arguments->device, "Where to run: auto, cpu or cuda")
      ->capture_default_str();
  command->add_flag("--ceilings", options.ceilings,
                    "Memory, matrix products, copies and gathers from host memory, page-locking");
  command->add_flag("--ops", options.ops, "Every op at the cases' shapes");
  command->add_flag("--steps", options.steps, "Whole training steps of the cases");
  command->add_flag("--decode", options.decode,
                    "Generation: one text, several at once, a long prompt");
  command
      ->add_option("--profile-ops", options.profiled,
                   "Ops and step of this case, and the ten costliest ops; may be repeated")
      ->type_name("CASE")
      ->allow_extra_args(false);
  command
      ->add_option("--case", options.cases,
                   "Only this case; may be repeated (a wrong name lists all)")
      ->type_name("CASE")
      ->allow_extra_args(false);
  command->add_option("--config", options.config, "A config of your own as a case");
  command->add_option("--config-folder", options.config_folder, "Where the cases' configs lie")
      ->capture_default_str();
  command->add_flag("--quick", options.quick, "Fewer repetitions and smaller sizes");
  command->add_option("--data", options.data,
                      "A folder of token shards for the steps, instead of random tokens");
  command->add_option("--warm-up", options.warm_up, "Steps before those that are measured")
      ->check(at_least(0))
      ->capture_default_str();
  command->add_flag("--guards", options.guards,
                    "Also measure what the guard against bad numbers costs a step");
  command->add_option("--table-gib", options.table_gib, "Host memory to gather from, GiB")
      ->capture_default_str();
  command->add_option("--against", options.against,
                      "A --json record of another commit: tell what changed since");
  command->add_option("--json", options.json_path, "Also write the results to this file");
  command->callback([=] { run(*arguments); });
}

}  // namespace memengine
