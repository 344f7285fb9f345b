// One rank alone, then all, then all once more with a meter.
#include "engine/bench/ranks/ranks_bench.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <span>

#include "engine/bench/cases.h"
#include "engine/bench/ranks/exchange_meter.h"
#include "engine/bench/ranks/ranks_report.h"
#include "engine/bench/report.h"
#include "engine/bench/steps.h"
#include "engine/bench/timing.h"
#include "io/files/is_there.h"
#include "kernels/runtime/ranks/together.h"

namespace memengine::bench {
namespace {

constexpr int observed_steps = 10;
constexpr int unobserved_first = 2;  // the first two prepare the graph

struct RanksCase {
  const char* name;
  bool random_too = false;  // random tokens as well as those of the shards
};
constexpr RanksCase gpu_ranks_cases[] = {
    {"dense_373m"},          {"memory_373m"},        {"dense_recipe"},          {"memory_recipe"},
    {"zero_copy_64m", true}, {"memory_recipe_host"}, {"memory_recipe_16m_host"}};
constexpr RanksCase cpu_ranks_cases[] = {{"small_memory"}, {"small_dense"}};

// What this process holds of the machine's memory, page-locked memory included.
std::int64_t resident_bytes() {
  std::int64_t all = 0;
  std::int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

// What the last step has read at other ranks, which share their memory: nothing was sent, and no
// exchange shows it. Of this rank's lists; the gradients of its rows go the other way.
void add_reads_at_others(std::vector<ExchangeShare>& shares, TrainingLoop& loop,
                         const RunConfig& config) {
  ExchangeShare rows{"rows, read at their owners", 0, 0, 0};
  ExchangeShare gradients{"row gradients, read by owners", 0, 0, 0};
  const std::int64_t tokens = config.data.batch_size * config.data.seq_len;
  for (const MemoryBank& bank : loop.model().transformer().banks()) {
    if (!bank.is_spread() || bank.asks_host()) continue;
    const ValueTable& table = bank.values();
    const auto tables = static_cast<double>(bank.tables().size());
    const auto elsewhere = [&](std::vector<std::int32_t>& picks) {
      std::sort(picks.begin(), picks.end());
      picks.erase(std::unique(picks.begin(), picks.end()), picks.end());
      return static_cast<double>(std::count_if(picks.begin(), picks.end(), [&](std::int32_t row) {
        return row % config.ranks.size != config.ranks.rank;
      }));
    };
    const auto v_dim = static_cast<double>(table.rows().v_dim());
    std::vector<std::int32_t> step;
    for (std::int64_t slot = 0; slot < bank.slots(); ++slot) {
      const Tensor device_picks = bank.picks(slot, tokens);
      std::vector<std::int32_t> picks(static_cast<std::size_t>(device_picks.size()));
      copy_bytes(loop.runtime().context(), picks.data(), device_picks.data(), device_picks.bytes());
      loop.runtime().synchronize();
      step.insert(step.end(), picks.begin(), picks.end());
      rows.calls += 1;
      rows.bytes += tables * elsewhere(picks) * v_dim *
                    static_cast<double>(element_bytes(table.answer_dtype()));
    }
    gradients.calls += tables;
    gradients.bytes += tables * elsewhere(step) * v_dim *
                       static_cast<double>(element_bytes(table.listed_gradients().dtype()));
  }
  if (rows.calls == 0) return;
  shares.push_back(rows);
  shares.push_back(gradients);
}

class RanksBench {
 public:
  RanksBench(const BenchOptions& options, Communicator& ranks,
             const std::function<void(const std::string&)>& say)
      : options_(options), ranks_(ranks), meter_(ranks), say_(say) {
    steps_.warm_up = options.quick ? std::min(options.warm_up, 2) : options.warm_up;
    steps_.steps = options.quick ? 5 : 20;
    results_.device = describe_device(options.device);
  }

  Results run() {
    std::vector<std::pair<BenchCase, std::string>> all;  // with the data of each
    const auto add = [&](const std::string& name, bool random_too) {
      BenchCase found = find(name);
      if (random_too && !options_.data.empty()) all.emplace_back(found, "");
      all.emplace_back(std::move(found), options_.data);
    };
    std::vector<std::string> named = options_.cases;
    if (!options_.config.empty()) named.insert(named.begin(), config_name());
    for (const std::string& name : named) add(name, false);
    if (named.empty()) {
      const std::span<const RanksCase> table = options_.device == Device::cpu
                                                   ? std::span<const RanksCase>(cpu_ranks_cases)
                                                   : gpu_ranks_cases;
      for (const RanksCase& known : table) add(known.name, known.random_too);
    }
    say_(fmt::format("{} ranks, each on {}", ranks_.size(), results_.device));
    say_("\n" + ranks_head(ranks_.size()));
    for (const auto& [bench_case, data] : all) measure(bench_case, data);
    return std::move(results_);
  }

 private:
  std::string config_name() const { return std::filesystem::path(options_.config).stem().string(); }

  BenchCase find(const std::string& name) const {
    if (!options_.config.empty() && name == config_name()) {
      return case_of_config(options_.config, options_.overrides);
    }
    return named_case(name, options_.config_folder);
  }

  void measure(const BenchCase& bench_case, const std::string& data) {
    RanksResult result;
    result.bench_case = bench_case.name;
    result.tokens_from =
        data.empty() ? "random tokens" : std::filesystem::path(data).filename().string();
    result.ranks = ranks_.size();
    steps_.data = data;
    const std::int64_t idle = resident_bytes();
    do_together(ranks_, [&] {
      if (ranks_.rank() != 0) return;
      result.one = bench_step(bench_case, options_.device, steps_,
                              [&] { result.one_host_bytes_resident = resident_bytes() - idle; });
    });
    try {
      do_together(ranks_, [&] { measure_all(bench_case, result); });
    } catch (const Error& error) {
      if (error.kind() != Error::Kind::input) throw;
      result.all = {};
      result.all.failure = error.what();
    }
    results_.ranks.push_back(result);
    say_(ranks_lines(result));
    if (ranks_.rank() == 0) write_json(results_, options_.json_path);
  }

  void measure_all(const BenchCase& bench_case, RanksResult& result) {
    RunConfig config = bench_case.config;
    config.ranks = {ranks_.rank(), ranks_.size()};
    const int steps = steps_.warm_up + steps_.steps;
    config.steps = std::max<std::int64_t>(config.steps, steps + unobserved_first + observed_steps);
    const std::int64_t idle = resident_bytes();
    const std::int64_t free_before = free_memory_bytes(options_.device);
    const double begin = now_seconds();
    // What does not fit on one rank is refused by all.
    std::optional<TrainingLoop> loop;
    do_together(ranks_, [&] { loop.emplace(config, options_.device, steps_.data, &meter_); });
    result.all.bench_case = bench_case.name;
    result.all.seconds_to_start = now_seconds() - begin;
    const std::vector<double> seconds = loop->run(steps);
    if (options_.device == Device::cuda) {
      result.all.device_bytes_taken = free_before - free_memory_bytes(options_.device);
    }
    result.host_bytes_resident = ranks_.sum(resident_bytes() - idle);
    read_steps(result.all, *loop, config, steps_.warm_up, seconds);
    result.all.seconds = ranks_.largest(result.all.seconds);
    result.host_bytes_of_all = ranks_.sum(result.all.host_bytes);
    observe(*loop, result);
    add_reads_at_others(result.exchanges, *loop, config);
  }

  void observe(TrainingLoop& loop, RanksResult& result) {
    meter_.observe(true);
    std::vector<double> seconds;
    for (int step = 0; step < unobserved_first + observed_steps; ++step) {
      meter_.begin_step();
      const double took = loop.run_observed(1).front();
      if (step < unobserved_first) continue;
      meter_.end_step();
      seconds.push_back(took);
    }
    meter_.observe(false);
    result.seconds_observed = median(seconds);
    result.exchanges = meter_.shares();
  }

  const BenchOptions& options_;
  Communicator& ranks_;
  ExchangeMeter meter_;
  const std::function<void(const std::string&)>& say_;
  StepOptions steps_;
  Results results_;
};

}  // namespace

void check_ranks_bench_options(const BenchOptions& options) {
  if (options.ceilings || options.ops || options.decode || options.guards ||
      !options.profiled.empty() || !options.ladders.empty() || !options.against.empty()) {
    fail_input(
        "bench: several ranks measure whole steps: leave out --ceilings, --ops, --decode, "
        "--profile-ops, --ladder, --guards and --against");
  }
  check_bench_options(options);
}

Results run_ranks_bench(const BenchOptions& options, Communicator& ranks,
                        const std::function<void(const std::string&)>& say) {
  check_ranks_bench_options(options);
  return RanksBench(options, ranks, say).run();
}

}  // namespace memengine::bench
