// Words and files about a run.
#include "engine/run/run_files.h"

#include <cmath>
#include <ctime>
#include <filesystem>
#include <utility>
#include <vector>

#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

void add_usage(std::vector<Metric>& metrics, const std::vector<BankUsage>& banks,
               const std::vector<std::string>& keys) {
  for (std::size_t i = 0; i < banks.size(); ++i) {
    const BankUsage& bank = banks[i];
    metrics.emplace_back(keys[5 * i], bank.unique_rows);
    metrics.emplace_back(keys[5 * i + 1], bank.unique_share());
    metrics.emplace_back(keys[5 * i + 2], bank.rows_ever_used);
    metrics.emplace_back(keys[5 * i + 3],
                         static_cast<double>(bank.rows_ever_used) / static_cast<double>(bank.rows));
    metrics.emplace_back(keys[5 * i + 4], bank.divergence);
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

std::string usage_words(const std::vector<BankUsage>& banks) {
  std::string text;
  for (const BankUsage& bank : banks) {
    text += fmt::format(
        "  rows {} ({:.1f}%)  ever {} ({:.1f}%)  KL {:.2f}",
        count_text(static_cast<double>(bank.unique_rows)), 100 * bank.unique_share(),
        count_text(static_cast<double>(bank.rows_ever_used)),
        100.0 * static_cast<double>(bank.rows_ever_used) / static_cast<double>(bank.rows),
        bank.divergence);
  }
  return text;
}

}  // namespace

std::string count_text(double count) {
  if (count >= 1e9) return fmt::format("{:.2f}G", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.2f}M", count / 1e6);
  if (count >= 1e4) return fmt::format("{:.1f}k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::lround(seconds));
  if (whole >= 3600) return fmt::format("{}h {:02}m", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  return fmt::format("{}s", whole);
}

std::string start_text(const RunConfig& config, const RunStart& start) {
  std::string text = fmt::format("{} on {}\n", config.name, start.device);
  text += fmt::format("  dense parameters {}", count_text(static_cast<double>(start.parameters)));
  if (start.value_parameters > 0) {
    text += fmt::format(", value table {} rows x {} = {}", config.model.productkey_args.rows(),
                        config.model.value_dim(),
                        count_text(static_cast<double>(start.value_parameters)));
  }
  text +=
      fmt::format("\n  {} training FLOPs a token, {} tokens a step, {} tokens in the data\n",
                  count_text(static_cast<double>(start.flops_per_token)), config.tokens_per_step(),
                  count_text(static_cast<double>(start.training_tokens)));
  text += fmt::format("  memory: {} on the device", bytes_text(start.plan.device_bytes()));
  if (start.plan.host_bytes() > 0) {
    text += fmt::format(", {} of host tables", bytes_text(start.plan.host_bytes()));
  }
  text += fmt::format("; a checkpoint takes {}", bytes_text(start.plan.checkpoint_bytes));
  if (start.resumed_step >= 0) text += fmt::format("\n  resumed at step {}", start.resumed_step);
  return text;
}

std::string step_line(const StepReport& report) {
  std::string text = fmt::format("step {:>{}}/{}  loss {:.4f}  grad {:.3f}", report.step,
                                 std::to_string(report.steps).size(), report.steps, report.loss,
                                 report.dense_gradient_norm);
  if (!report.banks.empty()) text += fmt::format("  values {:.3g}", report.value_gradient_norm);
  text += fmt::format("  lr {:.2e}  {} tok/s  data {:.1f}%", report.learning_rate,
                      count_text(report.tokens_per_second),
                      100 * report.data_seconds_per_step / report.seconds_per_step);
  text += usage_words(report.banks);
  if (report.skipped_updates > 0) text += fmt::format("  skipped {}", report.skipped_updates);
  if (report.spikes > 0) text += fmt::format("  spikes {}", report.spikes);
  return text + fmt::format("  left {}", duration_text(report.seconds_left));
}

std::string validation_line(const ValidationReport& report) {
  return fmt::format("validation at step {}: loss {:.4f} over {} tokens ({:.1f} s){}", report.step,
                     report.loss, count_text(static_cast<double>(report.tokens)), report.seconds,
                     usage_words(report.banks));
}

std::string save_line(const SaveReport& report) {
  return fmt::format(
      "saved step {} to {} ({}{}, {:.1f} s)", report.step, report.path, bytes_text(report.bytes),
      report.base_step < 0 ? "" : fmt::format(" on top of step {}", report.base_step),
      report.seconds);
}

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
  std::fputs(fmt::format("{} {}\n", time, line).c_str(), log_);
  std::fflush(log_);
}

void RunFiles::started(const RunConfig& config, const RunStart& start) {
  const std::filesystem::path folder = config.dump_dir;
  write_file_atomically(files_, folder / "config.yaml", dump_config(config));
  metrics_ = std::make_unique<MetricsFile>(folder / "metrics.jsonl", start.resumed_step, files_);
  const std::filesystem::path log_path = folder / "train.log";
  log_ = std::fopen(log_path.c_str(), start.resumed_step >= 0 ? "a" : "w");
  if (log_ == nullptr) fail_input("{}: cannot be written", log_path.string());
  plan_ = start.plan;
  log(start_text(config, start));
  for (const std::string& notice : std::exchange(early_notices_, {})) log(notice);
}

void RunFiles::stepped(const StepReport& report) {
  log(step_line(report));
  const std::vector<std::string> keys = usage_keys(report.banks, "pkm/");
  std::vector<Metric> metrics = {
      {"global_step", report.step},
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
      {"memory/device_bytes", plan_.device_bytes()},
      {"memory/host_table_bytes", plan_.host_bytes()},
  };
  if (!report.banks.empty()) {
    metrics.emplace_back("optim/value_grad_norm", report.value_gradient_norm);
    metrics.emplace_back("optim/value_lr", report.value_learning_rate);
  }
  add_usage(metrics, report.banks, keys);
  write_metrics(metrics);
}

void RunFiles::write_metrics(const std::vector<Metric>& metrics) {
  const auto say = [this](const std::string& message) {
    log(message);
    if (trouble_) trouble_(message);
  };
  try {
    metrics_->write(metrics);
    if (lost_lines_ > 0) {
      say(fmt::format("metrics.jsonl is written again; {} lines are missing", lost_lines_));
    }
    lost_lines_ = 0;
  } catch (const Error& error) {
    if (lost_lines_++ == 0) say(fmt::format("training goes on without metrics: {}", error.what()));
  }
}

void RunFiles::validated(const ValidationReport& report) {
  log(validation_line(report));
  const std::vector<std::string> keys = usage_keys(report.banks, "val/pkm/");
  std::vector<Metric> metrics = {
      {"global_step", report.step}, {"val/loss", report.loss}, {"val/tokens", report.tokens}};
  add_usage(metrics, report.banks, keys);
  write_metrics(metrics);
}

void RunFiles::saved(const SaveReport& report) {
  log(save_line(report));
}

void RunFiles::evaluated(std::int64_t step, const std::string& table) {
  log(fmt::format("evaluation at step {}\n{}", step, table));
}

void RunFiles::noticed(const std::string& message) {
  if (log_ == nullptr) {
    early_notices_.push_back(message);
  } else {
    log(message);
  }
}

void RunFiles::failed(const std::string& message) {
  noticed(message);
}

}  // namespace memengine
