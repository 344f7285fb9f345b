// Which spikes are worth a word.
//
// The guard counts every loss or norm that lies guard.spike_zscore deviations above its window.
// Early in training, and for as long as a figure is heavy-tailed, that happens every few updates,
// and a log full of such lines hides the one that matters. So each spike that is told raises the
// bar to half as much again as the greatest of late, and only time lowers it: the others are told
// as a number with the next that is news.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace memengine {

class SpikeNews {
 public:
  // `zscore` is what the guard calls a spike, `window` the updates it judges by.
  SpikeNews(double zscore, std::int64_t window) : zscore_(zscore), window_(window), bar_(zscore) {}

  // Of a spike at update `step`, `zscore` deviations high: what to say after the figures when it
  // is news ("", or how many were not told since when), nothing when it is not. Steps ascend.
  std::optional<std::string> judge(std::int64_t step, double zscore);

 private:
  double zscore_;
  std::int64_t window_;
  double bar_;
  std::int64_t last_step_ = 0;  // of the last spike
  std::int64_t untold_ = 0;     // since the last that was told
  std::int64_t first_untold_ = 0;
};

}  // namespace memengine
