// Counts in words.
#include "cli/prepare_progress.h"

#include <fmt/core.h>

#include "engine/config/memory_plan.h"
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
  const std::string text = words(now);
  if (!line_.terminal() && !now.finished && now.seconds - shown_seconds_ < 10) return;
  shown_seconds_ = now.seconds;
  line_.show(text);
  if (now.finished) line_.keep();
}

std::string PrepareDisplay::words(const PrepareProgress& now) {
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
  std::string text = fmt::format("{} {:<10} ", now.source, now.phase);
  if (known || now.finished) text += fmt::format("{:3.0f}%  ", 100 * share);
  text += fmt::format("{} documents  {} tokens", grouped(now.documents),
                      count_text(static_cast<double>(now.tokens)));
  const double seconds = now.seconds - first_.seconds;
  const std::int64_t read = now.bytes_read - first_.bytes_read;
  if (seconds > 0 && read > 0) {
    const bool shuffle = now.phase == "shuffle";
    const std::int64_t done = shuffle ? read : now.text_bytes - first_.text_bytes;
    const double left =
        seconds / static_cast<double>(read) * static_cast<double>(now.bytes_total - now.bytes_read);
    text += fmt::format("  {:.1f} MB/s", static_cast<double>(done) / seconds / 1e6);
    if (known && !now.finished) text += fmt::format("  left {}", duration_text(left));
    if (now.finished) text += fmt::format("  in {}", duration_text(seconds));
  }
  return text;
}

}  // namespace memengine
