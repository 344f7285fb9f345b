// Counts in words.
#include "cli/prepare_progress.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/config/memory_plan.h"
#include "engine/run/display_width.h"
#include "engine/run/run_files.h"

namespace memengine {

void TrainingDisplay::show(const SentencePieceProgress& now) {
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  if (!now.finished && seconds - shown_ < (line_.terminal() ? 0.2 : 10.0)) return;
  shown_ = seconds;
  const std::string text = bytes_text(now.text_bytes);
  line_.show(now.pieces == 0 ? fmt::format("tokenizer: {} of text read", text)
                             : fmt::format("tokenizer: {} of {} pieces from {} of text  {}",
                                           grouped(now.pieces), grouped(training_.vocab_size), text,
                                           duration_text(seconds)));
  if (now.finished) line_.keep();
}

void PrepareDisplay::report(const PrepareProgress& now) {
  const std::vector<LineColumn> columns = words(now);
  if (!line_.terminal() && !now.finished && now.seconds - shown_seconds_ < 10) return;
  shown_seconds_ = now.seconds;
  line_.show(columns);
  if (now.finished) line_.keep();
}

std::vector<LineColumn> PrepareDisplay::words(const PrepareProgress& now) {
  if (now.source != first_.source || now.phase != first_.phase) {
    first_ = now;
    shown_seconds_ = now.seconds;
  }
  // Nobody knows how much is to come of standard input.
  const bool known = now.bytes_total > 0;
  const double share =
      now.finished ? 1
      : known      ? static_cast<double>(now.bytes_read) / static_cast<double>(now.bytes_total)
                   : 0;
  constexpr std::size_t most_of_name = 24;
  std::string what = fmt::format(
      "{} {:<10}", fit_text(now.source, line_.terminal() ? most_of_name : 0), now.phase);
  if (known || now.finished) what += fmt::format(" {:3.0f}%", 100 * share);
  std::vector<LineColumn> columns = {{what, never_dropped},
                                     {grouped(now.documents) + " documents", 50},
                                     {count_text(static_cast<double>(now.tokens)) + " tokens", 60}};
  const double seconds = now.seconds - first_.seconds;
  const std::int64_t read = std::max<std::int64_t>(now.bytes_read - first_.bytes_read, 1);
  const std::int64_t done = now.phase == "shuffle" ? read : now.text_bytes - first_.text_bytes;
  if (seconds > 0 && done > 0) {
    const double left =
        seconds / static_cast<double>(read) * static_cast<double>(now.bytes_total - now.bytes_read);
    columns.push_back({fmt::format("{:.1f} MB/s", static_cast<double>(done) / seconds / 1e6), 40});
    if (known && !now.finished) columns.push_back({"left " + duration_text(left), never_dropped});
    if (now.finished) columns.push_back({"in " + duration_text(seconds), 45});
  }
  return columns;
}

}  // namespace memengine
