// Draws the next token from logits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace memengine {

struct SamplingOptions {
  double temperature = 0;             // 0: the most likely token
  std::optional<double> top_p;        // the fewest tokens whose probabilities reach this sum
  std::optional<std::int64_t> top_k;  // the so many most likely tokens
  std::uint64_t seed = 0;
};

// Input errors: a temperature, top_p or top_k that is out of range or not a number.
void check(const SamplingOptions& options);

// The index of the largest logit, the first of equals.
std::int32_t most_likely(std::span<const float> logits);

// Keeps its working memory between draws.
class Sampler {
 public:
  // A token of softmax(logits / temperature) cut to top_k, then to top_p (Holtzman et al. 2020,
  // nucleus sampling). The draw is a function of (seed, text, step) only.
  std::int32_t draw(std::span<const float> logits, const SamplingOptions& options,
                    std::uint64_t text, std::uint64_t step);

 private:
  std::vector<std::pair<float, std::int32_t>> candidates_;  // logit, token
  std::vector<double> cumulative_;
};

}  // namespace memengine
