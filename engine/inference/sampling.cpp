// Greedy choice, top-k and nucleus sampling by inversion of the cumulative distribution.
#include "engine/inference/sampling.h"

#include <algorithm>
#include <cmath>

#include "kernels/runtime/error.h"
#include "kernels/runtime/philox.h"

namespace memengine {

void check(const SamplingOptions& options) {
  if (!(options.temperature >= 0 && std::isfinite(options.temperature))) {
    fail_input("temperature {} must be a number, at least 0", options.temperature);
  }
  if (options.top_p && !(*options.top_p >= 0 && *options.top_p <= 1)) {
    fail_input("top-p {} must be a number from 0 to 1", *options.top_p);
  }
  if (options.top_k && *options.top_k < 1)
    fail_input("top-k {} must be at least 1", *options.top_k);
}

std::int32_t most_likely(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::int32_t Sampler::draw(std::span<const float> logits, const SamplingOptions& options,
                           std::uint64_t text, std::uint64_t step) {
  if (options.temperature <= 0) return most_likely(logits);
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i) {
    candidates_.emplace_back(logits[i], static_cast<std::int32_t>(i));
  }
  // Most likely first; equals by id, so that the order is one.
  const auto before = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  const std::size_t kept =
      options.top_k ? std::min(static_cast<std::size_t>(std::max<std::int64_t>(*options.top_k, 1)),
                               candidates_.size())
                    : candidates_.size();
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(kept);
  if (options.top_k || options.top_p) {
    std::partial_sort(candidates_.begin(), end, candidates_.end(), before);
    candidates_.resize(kept);
  }
  const double largest = *std::max_element(logits.begin(), logits.end());
  cumulative_.clear();
  double total = 0;
  for (const auto& [logit, token] : candidates_) {
    total += std::exp((logit - largest) / options.temperature);
    cumulative_.push_back(total);
  }
  if (options.top_p) {
    const auto last =
        std::lower_bound(cumulative_.begin(), cumulative_.end(), *options.top_p * total);
    if (last != cumulative_.end()) {
      total = *last;
      cumulative_.erase(last + 1, cumulative_.end());
    }
  }
  const Philox4 random = philox(options.seed, text, step);
  const double uniform =
      (static_cast<double>(random.word[0]) + static_cast<double>(random.word[1]) * 0x1p-32) *
      0x1p-32;
  const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), uniform * total);
  const auto index = std::min<std::ptrdiff_t>(found - cumulative_.begin(),
                                              static_cast<std::ptrdiff_t>(cumulative_.size()) - 1);
  return candidates_[static_cast<std::size_t>(index)].second;
}

}  // namespace memengine
