// memengine bench: speed of the machine, of every op, and of whole training steps.
#include "engine/bench/bench.h"

#include <fmt/core.h>

#include <csignal>
#include <cstdio>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/ranks/launch.h"
#include "cli/ranks/run_as_rank.h"
#include "cli/terminal.h"
#include "engine/bench/ranks/ranks_bench.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

struct Arguments {
  bench::BenchOptions options;
  std::string device = "auto";
  std::string gpus;
  int ranks = 0;
};

void show_line(const std::string& line) {
  print("{}\n", Lines{line});
  std::fflush(stdout);
}

// The words that make each rank do the same.
std::vector<std::string> words_of(const Arguments& arguments) {
  const bench::BenchOptions& options = arguments.options;
  std::vector<std::string> words = {"bench", "--device", arguments.device};
  const auto add_flag = [&](bool given, const char* name) {
    if (given) words.emplace_back(name);
  };
  const auto add = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) words.insert(words.end(), {name, value});
  };
  add_flag(options.steps, "--steps");
  add_flag(options.quick, "--quick");
  for (const std::string& name : options.cases) add("--case", name);
  add("--config", options.config);
  add("--config-folder", options.config_folder);
  add("--data", options.data);
  add("--warm-up", std::to_string(options.warm_up));
  add("--json", options.json_path);
  words.insert(words.end(), options.overrides.begin(), options.overrides.end());
  return words;
}

DeviceChoice choice_of(const std::string& device) {
  if (device == "cpu") return DeviceChoice::cpu;
  return device == "cuda" ? DeviceChoice::cuda : DeviceChoice::automatic;
}

void run_as_ranks(Arguments arguments, const RankStart& start) {
  std::signal(SIGPIPE, SIG_IGN);
  run_as_rank(start, choice_of(arguments.device), [&](JoinedRanks& ranks) {
    arguments.options.device = choose_device(arguments.device);
    bench::run_ranks_bench(arguments.options, *ranks.communicator, [&](const std::string& line) {
      if (ranks.start.rank == 0) show_line(line);
    });
  });
}

void run(Arguments arguments) {
  bench::BenchOptions& options = arguments.options;
  const RankStart start = rank_start();
  if (start.size > 1) {
    refuse_launch_by_rank(start, arguments.gpus, "--gpus");
    refuse_launch_by_rank(start, arguments.ranks > 0 ? "ranks" : "", "--ranks");
    return run_as_ranks(std::move(arguments), start);
  }
  if (!arguments.gpus.empty()) {
    bench::check_ranks_bench_options(options);
    return launch_on_gpus(arguments.gpus, words_of(arguments));
  }
  if (arguments.ranks > 1) {
    bench::check_ranks_bench_options(options);
    arguments.device = "cpu";
    return launch_on_cpu(arguments.ranks, words_of(arguments));
  }
  options.device = choose_device(arguments.device);
  if (!options.ceilings && !options.ops && !options.steps && !options.decode &&
      options.profiled.empty() && options.ladders.empty()) {
    options.ceilings = options.ops = options.steps = true;
  }
  bench::run_bench(options, show_line);
}

}  // namespace

void add_bench_command(CLI::App& program) {
  CLI::App* command =
      program.add_subcommand("bench", "Measure the machine, every op, and whole training steps");
  command->footer(
      "Without --ceilings, --ops, --steps, --decode, --ladder or --profile-ops: all of the first "
      "three.\n\n"
      "  memengine bench --steps --case zero_copy_1m --case memory_373m\n"
      "  memengine bench --ops --config configs/memory_recipe.yaml data.batch_size=8\n"
      "  memengine bench --decode --case dense_373m\n"
      "  memengine bench --ladder product_key\n"
      "  memengine bench --profile-ops memory_373m --json bench.json\n\n"
      "Several GPUs, or several ranks on the processor: tokens/s of one rank and of all, and what "
      "the "
      "exchanges\nbetween them take and send.\n\n"
      "  memengine bench --gpus 2 --data data/novels\n"
      "  memengine bench --ranks 2");
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
      ->add_option(
          "--ladder", options.ladders,
          "An op in several ways, from the obvious one to the engine's, and what each step "
          "gives: host_gather, product_key, bag_rows, sparse_adam or attention; may be "
          "repeated")
      ->type_name("NAME")
      ->allow_extra_args(false);
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
  CLI::Option* on_gpus =
      command->add_option("--gpus", arguments->gpus,
                          "Whole steps on so many GPUs of this host, or all, beside one of them");
  command
      ->add_option("--ranks", arguments->ranks,
                   "Whole steps as so many processes on this host's processor, beside one")
      ->check(at_least(1))
      ->excludes(on_gpus);
  command->add_option("--against", options.against,
                      "A --json record of another commit: tell what changed since");
  command->add_option("--json", options.json_path, "Also write the results to this file");
  command->callback([=] { run(*arguments); });
}

}  // namespace memengine
