#include "engine/run/run_summary.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/run/run_lines.h"
#include "io/text/ascii.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

// As a shell reads it back.
std::string shell_word(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](const char c) {
    return is_letter(c) || is_digit(c) ||
           std::string_view("._/=,+-").find(c) != std::string_view::npos;
  });
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

}  // namespace

void RunSummary::started(const RunConfig& config, const RunStart& start) {
  config_ = config;
  start_ = start;
  begin_ = std::max<std::int64_t>(start.resumed_step, 0);
}

void RunSummary::stepped(const StepReport& report) {
  const double seconds =
      report.seconds_per_step * static_cast<double>(report.step - std::max(last_.step, begin_));
  seconds_ += seconds;
  share_ += report.attainable_share * seconds;
  last_ = report;
}

void RunSummary::validated(const ValidationReport& report) {
  validation_ = report;
}

void RunSummary::saved(const SaveReport& report) {
  saved_step_ = report.step;
}

std::string RunSummary::text() const {
  if (last_.step <= begin_) return "";
  std::string text;
  const auto row = [&text](const char* title, const std::string& value) {
    text += fmt::format("  {:<17} {}\n", title, printable(value));
  };
  const auto steps = last_.step - begin_;
  const double tokens = static_cast<double>(steps * config_.tokens_per_step());
  row("trained", fmt::format("{}: steps {} to {} of {}, {} tokens", config_.name, begin_ + 1,
                             last_.step, last_.steps, count_text(tokens)));
  row("parameters", start_.value_parameters > 0
                        ? fmt::format("{} dense, {} of value rows",
                                      count_text(static_cast<double>(start_.parameters)),
                                      count_text(static_cast<double>(start_.value_parameters)))
                        : count_text(static_cast<double>(start_.parameters)));
  std::string time = duration_text(seconds_);
  if (seconds_ > 0) {
    time += fmt::format(", {} tokens/s", count_text(tokens / seconds_));
    if (share_ > 0) {
      time += fmt::format(", {} of what {} attains", percent_text(share_, seconds_), start_.device);
    }
  }
  row("time of training", time);
  row("training loss", fmt::format("{:.4f} (the last step)", last_.loss));
  if (validation_.tokens > 0) {
    row("validation loss", fmt::format("{:.4f} (at step {})", validation_.loss, validation_.step));
  }
  for (const BankUsage& bank : last_.banks) {
    row(last_.banks.size() > 1 ? table_title(bank.name).c_str() : "rows ever used",
        fmt::format("{} of {} ({})", count_text(static_cast<double>(bank.rows_ever_used)),
                    count_text(static_cast<double>(bank.rows)),
                    percent_text(bank.ever_used_share(), 1)));
  }
  if (last_.skipped_updates > 0) row("skipped updates", std::to_string(last_.skipped_updates));
  row("metrics, config", config_.dump_dir);
  if (saved_step_ >= 0) {
    row("checkpoint", fmt::format("step {} in {}", saved_step_, config_.checkpoint_path()));
  }
  const std::string folder = shell_word(config_.dump_dir);
  text += "next\n";
  if (saved_step_ >= 0) {
    text += fmt::format("  memengine generate {} --prompt \"...\"\n", printable(folder));
    text += fmt::format("  memengine eval configs/eval.yaml ckpt_dir={}\n", printable(folder));
  }
  return text + fmt::format("  memengine report {}", printable(folder));
}

}  // namespace memengine
