// A run in words.
#include "engine/run/run_lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/run/display_width.h"
#include "kernels/runtime/memory/bytes_text.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

// "loss nan", never "loss -nan": the sign of what is no number says nothing.
double unsigned_nan(double x) {
  return std::isnan(x) ? std::numeric_limits<double>::quiet_NaN() : x;
}

// Figures of use: the memory's first, because nobody sees a dead memory in the loss. With several
// tables each is named, and the first matter most. `when` is the update that they are of, where it
// is not the line's.
void add_usage_columns(std::vector<LineColumn>& columns, const std::vector<BankUsage>& banks,
                       std::string when) {
  int importance = 89;
  for (const BankUsage& bank : banks) {
    std::string name = std::exchange(when, "");
    if (banks.size() > 1) name += table_title(bank.name) + ": ";
    columns.push_back(
        {fmt::format(
             "{}rows {} ({})", name, count_text(static_cast<double>(bank.unique_rows)),
             percent_text(static_cast<double>(bank.unique_rows), static_cast<double>(bank.picks))),
         importance});
    columns.push_back(
        {fmt::format("ever {} ({})", count_text(static_cast<double>(bank.rows_ever_used)),
                     percent_text(static_cast<double>(bank.rows_ever_used),
                                  static_cast<double>(bank.rows))),
         std::max(importance - 50, 2)});
    columns.push_back({fmt::format("KL {:.2f}", bank.divergence), importance});
    if (bank.cache) {
      columns.push_back(
          {fmt::format("cache {:.1f}%, {} over the link", 100 * bank.cache->hit_share(),
                       bytes_text(bank.cache->link_bytes)),
           std::max(importance - 40, 2)});
    }
    importance = std::max(importance - 8, 3);
  }
}

}  // namespace

std::string count_text(double count) {
  if (count >= 1e9) return fmt::format("{:.2f}G", count / 1e9);
  if (count >= 1e6) return fmt::format("{:.2f}M", count / 1e6);
  if (count >= 1e4) return fmt::format("{:.1f}k", count / 1e3);
  return fmt::format("{:.0f}", count);
}

std::string duration_text(double seconds) {
  if (!(seconds < 1e12)) return "-";  // also what is no number
  const auto whole = static_cast<std::int64_t>(std::lround(std::max(seconds, 0.0)));
  if (whole >= 3600) return fmt::format("{}h {:02}m", whole / 3600, whole % 3600 / 60);
  if (whole >= 60) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  return fmt::format("{}s", whole);
}

std::string percent_text(double part, double whole) {
  const double percent = 100 * part / whole;
  return std::isfinite(percent) ? fmt::format("{:.1f}%", percent) : "-";
}

std::string table_title(const std::string& name) {
  constexpr std::string_view before = "layers.";
  const std::size_t end = name.find('.', before.size());
  if (!name.starts_with(before) || end == std::string::npos) return name;
  std::string title = "layer " + name.substr(before.size(), end - before.size());
  if (name.find("values_u") != std::string::npos) title += " u";
  if (name.find("values_v") != std::string::npos) title += " v";
  return title;
}

std::string fit_columns(std::vector<LineColumn> columns, std::size_t width) {
  const auto joined = [&] {
    std::string line;
    for (const LineColumn& column : columns) line += (line.empty() ? "" : "  ") + column.text;
    return line;
  };
  std::string line = joined();
  while (width > 0 && display_width(line) > width) {
    const auto least = std::min_element(
        columns.rbegin(), columns.rend(),
        [](const LineColumn& a, const LineColumn& b) { return a.importance < b.importance; });
    if (least == columns.rend() || least->importance >= never_dropped) return fit_text(line, width);
    columns.erase(std::next(least).base());
    line = joined();
  }
  return line;
}

// --- A run's lines -------------------------------------------------------------------------------

std::string start_text(const RunConfig& config, const RunStart& start) {
  std::string text = fmt::format("{} on {}\n", printable(config.name), start.device);
  text += fmt::format("  dense parameters {}", count_text(static_cast<double>(start.parameters)));
  if (start.frozen_parameters > 0) {
    text +=
        fmt::format(" ({} trained)",
                    count_text(static_cast<double>(start.parameters - start.frozen_parameters)));
  }
  if (start.value_parameters > 0) {
    std::string tables = "value table";
    if (start.tables.size() > 1) {
      std::vector<std::string> titles;
      for (const std::string& name : start.tables) titles.push_back(table_title(name));
      tables = fmt::format("{} value tables ({}), each", titles.size(), fmt::join(titles, ", "));
    }
    text += fmt::format(", {} {} rows x {} = {}{}", tables, config.model.productkey_args.rows(),
                        config.model.value_dim(),
                        count_text(static_cast<double>(start.value_parameters)),
                        start.tables.size() > 1 ? " in all" : "");
  }
  text +=
      fmt::format("\n  {} training FLOPs per token, {} tokens per step, {} tokens in the data\n",
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

std::vector<LineColumn> step_columns(const StepReport& report) {
  std::vector<LineColumn> columns = {
      {fmt::format("step {:>{}}/{}", report.step, std::to_string(report.steps).size(),
                   report.steps),
       never_dropped},
      {fmt::format("loss {:.4f}", unsigned_nan(report.loss)), never_dropped},
      {fmt::format("grad {:.3f}", unsigned_nan(report.dense_gradient_norm)), 50}};
  if (!report.banks.empty()) {
    columns.push_back({fmt::format("values {:.3g}", unsigned_nan(report.value_gradient_norm)), 30});
  }
  const bool waits = report.data_seconds_per_step > 0.05 * report.seconds_per_step;
  columns.push_back({fmt::format("lr {:.2e}", report.learning_rate), 45});
  columns.push_back({fmt::format("{} tok/s", count_text(report.tokens_per_second)), 80});
  if (report.attainable_share > 0) {
    columns.push_back({fmt::format("attained {}", percent_text(report.attainable_share, 1)), 42});
  }
  columns.push_back(
      {fmt::format("data {}", percent_text(report.data_seconds_per_step, report.seconds_per_step)),
       waits ? 75 : 20});
  const bool older = report.banks_step != report.step;
  add_usage_columns(columns, report.banks, older ? fmt::format("at {}: ", report.banks_step) : "");
  if (report.skipped_updates > 0) {
    columns.push_back({fmt::format("skipped {}", report.skipped_updates), 85});
  }
  if (report.spikes > 0) columns.push_back({fmt::format("spikes {}", report.spikes), 25});
  columns.push_back({fmt::format("left {}", duration_text(report.seconds_left)), never_dropped});
  return columns;
}

std::string step_line(const StepReport& report) {
  return fit_columns(step_columns(report), 0);
}

std::string validation_line(const ValidationReport& report) {
  std::string text = fmt::format("validation at step {}: loss {:.4f} over {} tokens ({:.1f} s)",
                                 report.step, unsigned_nan(report.loss),
                                 count_text(static_cast<double>(report.tokens)), report.seconds);
  for (const BankUsage& bank : report.banks) {
    text += fmt::format(
        "  {}rows {} of {} ({})  KL {:.2f}",
        report.banks.size() > 1 ? table_title(bank.name) + ": " : "",
        count_text(static_cast<double>(bank.unique_rows)),
        count_text(static_cast<double>(bank.rows)),
        percent_text(static_cast<double>(bank.unique_rows), static_cast<double>(bank.rows)),
        bank.divergence);
  }
  return text;
}

std::string save_line(const SaveReport& report) {
  return fmt::format(
      "saved step {} to {} ({}{}, {:.1f} s)", report.step, report.path, bytes_text(report.bytes),
      report.base_step < 0 ? "" : fmt::format(" on top of step {}", report.base_step),
      report.seconds);
}

}  // namespace memengine
