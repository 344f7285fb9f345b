#include "engine/training/watch/spike_news.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace memengine {

namespace {

constexpr double raise = 1.5;
// What the bar is above the guard's own halves in so many windows without any spike.
constexpr double windows_to_halve = 10;

}  // namespace

std::optional<std::string> SpikeNews::judge(std::int64_t step, double zscore) {
  const double quiet = static_cast<double>(step - last_step_) /
                       (windows_to_halve * static_cast<double>(std::max<std::int64_t>(window_, 1)));
  bar_ = zscore_ + (bar_ - zscore_) * std::exp2(-quiet);
  last_step_ = step;
  const bool news = zscore > bar_;
  bar_ = std::max(bar_, raise * zscore);
  if (!news) {
    if (untold_++ == 0) first_untold_ = step;
    return std::nullopt;
  }
  std::string text;
  if (untold_ > 0) {
    text = fmt::format("; {} smaller spike{} from update {} on {} counted without a word", untold_,
                       untold_ == 1 ? "" : "s", first_untold_, untold_ == 1 ? "was" : "were");
  }
  untold_ = 0;
  return text;
}

}  // namespace memengine
