// The files of a run; its words are in run_lines.cpp.
#include "engine/run/run_files.h"

#include <unistd.h>

#include <chrono>
#include <ctime>
#include <deque>
#include <filesystem>
#include <utility>
#include <vector>

#include "io/files/file.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

void add_usage(std::vector<Metric>& metrics, const std::vector<BankUsage>& banks,
               const std::vector<std::string>& keys) {
  for (std::size_t i = 0; i < banks.size(); ++i) {
    const BankUsage& bank = banks[i];
    metrics.emplace_back(keys[5 * i], bank.unique_rows);
    metrics.emplace_back(keys[5 * i + 1], bank.unique_share());
    metrics.emplace_back(keys[5 * i + 2], bank.rows_ever_used);
    metrics.emplace_back(keys[5 * i + 3], bank.ever_used_share());
    metrics.emplace_back(keys[5 * i + 4], bank.divergence);
  }
}

// Of caches of host tables, where there are any.
void add_cache_use(std::vector<Metric>& metrics, std::deque<std::string>& keys,
                   const std::vector<BankUsage>& banks) {
  for (const BankUsage& bank : banks) {
    if (!bank.cache) continue;
    std::string start = "pkm/";
    if (banks.size() > 1) start += bank.name + "/";
    start += "cache_";
    const auto put = [&](const char* what, auto value) {
      keys.push_back(start + what);
      metrics.emplace_back(keys.back(), value);
    };
    put("hit_share", bank.cache->hit_share());
    put("rows_found", bank.cache->found);
    put("rows_came", bank.cache->came);
    put("rows_went", bank.cache->went);
    put("rows_updated_in_table", bank.cache->updated_in_table);
    put("filled", bank.cache->filled);
    put("link_bytes", bank.cache->link_bytes);
  }
}

// "pkm/unique_rows", or "pkm/<table>/unique_rows" when a model has several tables.
std::vector<std::string> usage_keys(const std::vector<BankUsage>& banks,
                                    const std::string& prefix) {
  std::vector<std::string> keys;
  for (const BankUsage& bank : banks) {
    const std::string start = prefix + (banks.size() > 1 ? bank.name + "/" : "");
    for (const char* name :
         {"unique_rows", "unique_share", "rows_ever_used", "ever_used_share", "usage_kl"}) {
      keys.push_back(start + name);
    }
  }
  return keys;
}

// How many rows were picked how often, with limits between whole numbers.
std::vector<EventHistogram> use_histograms(const std::vector<BankUsage>& banks) {
  std::vector<EventHistogram> histograms;
  for (const BankUsage& bank : banks) {
    if (bank.rows_by_picks.empty()) continue;
    EventHistogram histogram;
    histogram.tag =
        "val/pkm/" + (banks.size() > 1 ? bank.name + "/" : std::string()) + "picks_of_a_row";
    double limit = 1;
    for (const std::int64_t rows : bank.rows_by_picks) {
      histogram.limits.push_back(limit - 0.5);
      histogram.counts.push_back(static_cast<double>(rows));
      histogram.count += static_cast<double>(rows);
      limit *= 2;
    }
    histogram.sum = static_cast<double>(bank.picks);
    histogram.greatest = limit / 2 - 1;
    histograms.push_back(std::move(histogram));
  }
  return histograms;
}

// As the reference writes it: "2026-11-25T21:08:31.123+00:00".
std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto milliseconds =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char time[32];
  std::strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}+00:00", time, milliseconds);
}

}  // namespace

RunFiles::~RunFiles() {
  if (log_ != nullptr) std::fclose(log_);
}

void RunFiles::log(const std::string& line) {
  char time[32];
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  std::strftime(time, sizeof(time), "%Y-%m-%d %H:%M:%S", &parts);
  // Not fmt::print, which throws: a full disk is no reason to stop.
  std::fputs(fmt::format("{} {}\n", time, printable_lines(line)).c_str(), log_);
  std::fflush(log_);
}

void RunFiles::started(const RunConfig& config, const RunStart& start) {
  const std::filesystem::path folder = config.dump_dir;
  const auto open = [&](Journal& journal) {
    journal.file = std::make_unique<MetricsFile>(folder / journal.name, start.resumed_step, files_);
  };
  // A run that is finished stays as it was made.
  if (start.resumed_step < config.steps) {
    write_file_atomically(files_, folder / "config.yaml", dump_config(config));
  }
  open(metrics_);
  if (config.logging.tensorboard && start.resumed_step < config.steps) {
    const auto event_folder = folder / "tensorboard";
    if (start.resumed_step < 0) files_.remove_all(event_folder);
    events_ = std::make_unique<EventFile>(event_folder, start.resumed_step, files_);
  }
  if (config.probe_freq) {
    files_.make_folder((folder / probe_.name).parent_path());
    open(probe_);
  }
  const std::filesystem::path log_path = folder / "train.log";
  const bool resumed = start.resumed_step >= 0;
  const int descriptor = resumed ? files_.create_or_open(log_path) : files_.create(log_path);
  log_ = ::fdopen(descriptor, "w");
  if (log_ == nullptr || std::fseek(log_, 0, SEEK_END) != 0) {
    if (log_ == nullptr) ::close(descriptor);
    fail_input("{}: cannot be written", log_path.string());
  }
  plan_ = start.plan;
  parameters_ = start.parameters;
  table_parameters_ = start.value_parameters;
  name_ = config.name;
  log(start_text(config, start));
  for (const std::string& notice : std::exchange(early_notices_, {})) log(notice);
  if (metrics_.file->damaged_lines() > 0) {
    const std::string message =
        fmt::format("metrics.jsonl: {} of its lines are damaged; they stay as they are",
                    metrics_.file->damaged_lines());
    log(message);
    if (trouble_) trouble_(message);
  }
}

void RunFiles::stepped(const StepReport& report) {
  log(step_line(report));
  const std::vector<std::string> keys = usage_keys(report.banks, "pkm/");
  std::vector<Metric> metrics = {
      {"loss/out", report.loss},
      {"optim/grad_norm", report.dense_gradient_norm},
      {"optim/lr", report.learning_rate},
      {"optim/total_tokens", report.total_tokens},
      {"optim/skipped_updates", report.skipped_updates},
      {"optim/spikes", report.spikes},
      {"speed/wps", report.tokens_per_second},
      {"speed/FLOPS", report.flops_per_second},
      {"speed/curr_iter_time", report.seconds_per_step},
      {"speed/data_load_time", report.data_seconds_per_step},
      {"speed/attainable_share", report.attainable_share},
      {"memory/device_bytes", plan_.device_bytes()},
      {"memory/host_table_bytes", plan_.host_bytes()},
      {"model/parameters", parameters_},
      {"model/table_parameters", table_parameters_},
  };
  if (!report.banks.empty()) {
    metrics.emplace_back("optim/value_grad_norm", report.value_gradient_norm);
    metrics.emplace_back("optim/value_lr", report.value_learning_rate);
  }
  add_usage(metrics, report.banks, keys);
  std::deque<std::string> cache_keys;  // metrics hold views
  add_cache_use(metrics, cache_keys, report.banks);
  write(metrics_, report.step, metrics);
  write_events(report.step, metrics);
}

void RunFiles::probed(const ProbeReport& report) {
  std::deque<std::string> keys;  // metrics hold views
  std::vector<Metric> metrics;
  const auto put = [&](const std::string& name, const char* what, double value) {
    keys.push_back(name + "/" + what);
    metrics.emplace_back(keys.back(), value);
  };
  for (const ProbeReport::Statistics& tensor : report.tensors) {
    put(tensor.name, "mean", tensor.mean);
    put(tensor.name, "std", tensor.deviation);
    put(tensor.name, "max_abs", tensor.largest);
    put(tensor.name, "zeros", tensor.zero_share);
  }
  write(probe_, report.step, metrics);
}

void RunFiles::say(const std::string& message) {
  log(message);
  if (trouble_) trouble_(message);
}

void RunFiles::write_events(std::int64_t step, const std::vector<Metric>& metrics,
                            const std::vector<EventHistogram>& histograms) {
  if (events_ == nullptr) return;
  try {
    events_->write(step, metrics, histograms);
    lost_events_ = 0;
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input) throw;
    if (lost_events_++ == 0) say(fmt::format("training goes on without events: {}", error.what()));
  }
}

void RunFiles::write(Journal& journal, std::int64_t step, const std::vector<Metric>& metrics) {
  std::vector<Metric> line = {{"global_step", step}, {"name", name_}, {"created_at", utc_now()}};
  line.insert(line.end(), metrics.begin(), metrics.end());
  try {
    journal.file->write(line);
    if (journal.lost_lines > 0) {
      say(fmt::format("{} is written again; {} lines are missing", journal.name,
                      journal.lost_lines));
    }
    journal.lost_lines = 0;
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input) throw;
    if (journal.lost_lines++ == 0) {
      say(fmt::format("training goes on without metrics: {}", error.what()));
    }
  }
}

void RunFiles::validated(const ValidationReport& report) {
  log(validation_line(report));
  const std::vector<std::string> keys = usage_keys(report.banks, "val/pkm/");
  std::vector<Metric> metrics = {
      {"val/loss", report.loss}, {"val/tokens", report.tokens}, {"val/seconds", report.seconds}};
  add_usage(metrics, report.banks, keys);
  write(metrics_, report.step, metrics);
  write_events(report.step, metrics, use_histograms(report.banks));
}

void RunFiles::saved(const SaveReport& report) {
  log(save_line(report));
}

void RunFiles::evaluated(std::int64_t step, const std::string& table) {
  log(fmt::format("evaluation at step {}\n{}", step, table));
}

void RunFiles::noticed(const std::string& message) {
  if (log_ == nullptr) {
    early_notices_.push_back(printable(message));
  } else {
    log(printable(message));
  }
}

void RunFiles::failed(const std::string& message) {
  noticed(message);
}

}  // namespace memengine
