// The order of measurements, and the say-so along the way.
#include "engine/bench/bench.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "engine/bench/ceilings.h"
#include "engine/bench/compare.h"
#include "engine/bench/decode.h"
#include "engine/bench/ladders/ladder.h"
#include "engine/bench/ladders/run_ladder.h"
#include "engine/bench/ops/ops.h"
#include "engine/bench/report.h"
#include "engine/bench/steps.h"
#include "io/files/is_there.h"

namespace memengine::bench {
namespace {

class Bench {
 public:
  Bench(const BenchOptions& options, const std::function<void(const std::string&)>& say)
      : options_(options), say_(say) {
    timing_.repetitions = options.quick ? 5 : 20;
    if (options.quick) {
      timing_.seconds_per_repetition = 1e-4;
      timing_.most_seconds = 0.2;
    }
    results_.device = describe_device(options.device);
  }

  Results run() {
    // Names and configs are checked before anything takes time.
    const std::vector<BenchCase> op_cases = chosen(options_.ops, op_case_names(options_.device));
    const std::vector<BenchCase> step_cases =
        chosen(options_.steps, step_case_names(options_.device));
    const std::vector<BenchCase> decode_cases =
        chosen(options_.decode, decode_case_names(options_.device));
    std::vector<BenchCase> profiled;
    for (const std::string& name : options_.profiled) profiled.push_back(find(name));
    for (const std::string& name : options_.ladders) find_ladder(name);
    std::optional<Record> record;
    if (!options_.against.empty()) record = read_record(options_.against);
    say_(results_.device);
    std::set<std::string> notes;
    const auto collect = [&](const std::vector<BenchCase>& cases) {
      for (const BenchCase& bench_case : cases) {
        notes.insert(bench_case.note);
        if (options_.device == Device::cpu &&
            bench_case.config.distributed.model_dtype == ModelDtype::bf16) {
          notes.insert(bench_case.name + ": model_dtype is bf16, but the CPU computes in FP32");
        }
      }
    };
    collect(op_cases);
    collect(step_cases);
    collect(decode_cases);
    collect(profiled);
    notes.erase("");
    for (const std::string& note : notes) say_("note: " + note);
    for (const std::string& name : options_.ladders) ladder(name);
    if (options_.ceilings || !op_cases.empty() || !profiled.empty()) ceilings();
    if (!op_cases.empty()) say_("\n" + op_head());
    for (const BenchCase& bench_case : op_cases) ops(bench_case);
    if (!step_cases.empty()) say_("\n" + step_head());
    for (const BenchCase& bench_case : step_cases) step(bench_case);
    if (!decode_cases.empty()) say_("\n" + decode_head());
    for (const BenchCase& bench_case : decode_cases) decode(bench_case);
    for (const BenchCase& bench_case : profiled) profile(bench_case);
    if (record) say_("\n" + changes_since(*record, results_));
    return std::move(results_);
  }

 private:
  BenchCase find(const std::string& name) const {
    if (!options_.config.empty() && name == config_name()) {
      return case_of_config(options_.config, options_.overrides);
    }
    return named_case(name, options_.config_folder);
  }

  std::string config_name() const { return std::filesystem::path(options_.config).stem().string(); }

  std::vector<BenchCase> chosen(bool wanted, const std::vector<std::string>& by_default) const {
    std::vector<BenchCase> cases;
    if (!wanted) return cases;
    std::vector<std::string> names = options_.cases;
    if (!options_.config.empty()) names.insert(names.begin(), config_name());
    for (const std::string& name : names.empty() ? by_default : names) cases.push_back(find(name));
    return cases;
  }

  void ceilings() {
    say_("\nceilings of this machine");
    Runtime runtime(options_.device);
    CeilingOptions ceiling_options;
    ceiling_options.quick = options_.quick;
    ceiling_options.table_gib = options_.table_gib;
    const OnCeiling on_result = [&](const CeilingResult& result) {
      results_.ceiling_lines.push_back(result);
      say_(ceiling_line(result));
    };
    results_.ceilings = measure_ceilings(runtime, timing_, ceiling_options, on_result);
    if (options_.ceilings && runtime.context().on_cuda()) {
      try {
        measure_link_gathers(runtime, timing_, ceiling_options, on_result);
      } catch (const Error& error) {
        if (error.kind() != Error::Kind::input) throw;
        results_.failures.push_back(std::string("gathers from host memory: ") + error.what());
        say_(fmt::format("  {}; or choose another --table-gib", results_.failures.back()));
      }
    }
    write_json();
  }

  // A case that does not fit this machine is told; the others go on.
  void ops(const BenchCase& bench_case) {
    say_(bench_case.name + ":");
    try {
      Runtime runtime(options_.device);
      Workbench workbench(runtime, timing_);
      const OnOp on_op = [&](const OpResult& result) {
        results_.ops.push_back(result);
        say_(op_line(result));
      };
      OpBench bench(workbench, bench_case, results_.ceilings, on_op);
      bench.transformer();
      bench.memory();
      bench.optimizer();
    } catch (const Error& error) {
      if (error.kind() != Error::Kind::input) throw;
      results_.failures.push_back(bench_case.name + ": " + error.what());
      say_("  " + results_.failures.back());
    }
    write_json();
  }

  void ladder(const std::string& name) {
    say_("");
    LadderOptions ladder_options;
    ladder_options.size = options_.quick ? LadderOptions::Size::quick : LadderOptions::Size::full;
    ladder_options.table_gib = options_.table_gib;
    try {
      for (RungResult& rung : run_ladder(name, options_.device, timing_, ladder_options, say_)) {
        results_.rungs.push_back(std::move(rung));
      }
    } catch (const Error& error) {
      if (error.kind() != Error::Kind::input) throw;
      results_.failures.push_back("ladder " + name + ": " + error.what());
      say_("  " + results_.failures.back());
    }
    write_json();
  }

  void step(const BenchCase& bench_case) {
    StepOptions step_options;
    step_options.data = options_.data;
    step_options.warm_up = options_.quick ? std::min(options_.warm_up, 2) : options_.warm_up;
    step_options.steps = timing_.repetitions;
    step_options.guards = options_.guards;
    results_.steps.push_back(bench_step(bench_case, options_.device, step_options));
    say_(step_line(results_.steps.back()));
    write_json();
  }

  void decode(const BenchCase& bench_case) {
    const std::vector<DecodeShape> shapes = decode_shapes(options_.device, options_.quick);
    for (DecodeResult& result :
         bench_decode(bench_case, options_.device, shapes, options_.quick ? 1 : 5)) {
      say_(decode_line(result));
      results_.decodes.push_back(std::move(result));
    }
    write_json();
  }

  void profile(const BenchCase& bench_case) {
    say_("\n" + op_head());
    ops(bench_case);
    say_("\n" + step_head());
    step(bench_case);
    say_("\n" + costliest_ops(results_, bench_case.name, &results_.steps.back()));
  }

  void write_json() const { bench::write_json(results_, options_.json_path); }

  const BenchOptions& options_;
  const std::function<void(const std::string&)>& say_;
  TimingOptions timing_;
  Results results_;
};

}  // namespace

void check_bench_options(const BenchOptions& options) {
  if (!options.overrides.empty() && options.config.empty()) {
    fail_input("bench: '{}' would override a key of a config, but none is given (--config)",
               options.overrides.front());
  }
  if (!(options.table_gib > 0) || options.table_gib > 1024) {
    fail_input("bench: --table-gib={} is not between 0 and 1024", options.table_gib);
  }
  if (options.warm_up < 0 || options.warm_up > 1'000'000) {
    fail_input("bench: --warm-up={} is not between 0 and 1000000", options.warm_up);
  }
  if (!options.json_path.empty()) check_json_path(options.json_path);
  if (!options.data.empty() && !is_there(options.data)) {
    fail_input("bench: --data={} does not exist: name a folder that `prepare` has made",
               options.data);
  }
}

Results run_bench(const BenchOptions& options, const std::function<void(const std::string&)>& say) {
  if (!options.ceilings && !options.ops && !options.steps && !options.decode &&
      options.profiled.empty() && options.ladders.empty()) {
    fail_input(
        "bench: nothing to do; choose --ceilings, --ops, --steps, --decode, --ladder or "
        "--profile-ops");
  }
  if (!(options.cases.empty() && options.config.empty()) && !options.ops && !options.steps &&
      !options.decode && options.profiled.empty()) {
    fail_input(
        "bench: --case and --config are measured by --ops, --steps, --decode and --profile-ops: "
        "add one of them, or leave the case out");
  }
  check_bench_options(options);
  return Bench(options, say).run();
}

}  // namespace memengine::bench
