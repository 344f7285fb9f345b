// Scores and their statistics.
#include "engine/evaluation/scoring/scoring.h"

#include <algorithm>
#include <cmath>

#include "engine/evaluation/python/python_random.h"
#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/python/regex.h"
#include "io/text/utf8.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

template <typename Score>
int first_largest(std::size_t count, const Score& score) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (std::isnan(score(i)))
      fail_input(
          "the model's log-likelihoods are not numbers: its weights are damaged or diverged; "
          "evaluate an earlier checkpoint");
    if (score(i) > score(best)) best = i;
  }
  return static_cast<int>(best);
}

// Neumaier's compensated summation, which CPython's sum() uses on floats.
double python_sum(std::span<const double> values) {
  double sum = 0;
  double compensation = 0;
  for (const double x : values) {
    const double next = sum + x;
    compensation += std::fabs(sum) >= std::fabs(x) ? (sum - next) + x : (x - next) + sum;
    sum = next;
  }
  return sum + compensation;
}

// Of the sample: over n - 1.
double deviation(std::span<const double> values) {
  const double mu = mean(values);
  std::vector<double> squares(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) squares[i] = (values[i] - mu) * (values[i] - mu);
  return std::sqrt(python_sum(squares) / static_cast<double>(values.size() - 1));
}

std::string normalized(std::string_view text) {
  // Python's \b before a letter: no letter, digit or underscore in front.
  static const Regex articles("(?<![\\p{L}\\p{N}_])(?:The |the |An |A |a |an )");
  std::string result = python_lower(articles.replace_all(text, ""));
  std::erase_if(result, [](char c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  });
  return result;
}

}  // namespace

int predicted_choice(std::span<const double> loglikelihoods) {
  return first_largest(loglikelihoods.size(), [&](std::size_t i) { return loglikelihoods[i]; });
}

int predicted_choice_normalized(std::span<const double> loglikelihoods,
                                std::span<const std::string> choices) {
  return first_largest(loglikelihoods.size(), [&](std::size_t i) {
    return loglikelihoods[i] / static_cast<double>(python_length(choices[i]));
  });
}

std::string cut_at_stop_strings(std::string_view text, std::span<const std::string> until) {
  for (const std::string& stop : until) {
    if (!stop.empty()) text = text.substr(0, text.find(stop));
  }
  return replace_invalid_utf8(text);
}

bool exact_match(std::string_view answer, std::span<const std::string> accepted) {
  const std::string given = normalized(answer);
  return std::any_of(accepted.begin(), accepted.end(),
                     [&](const std::string& gold) { return normalized(gold) == given; });
}

double mean(std::span<const double> values) {
  return python_sum(values) / static_cast<double>(values.size());
}

std::optional<double> standard_error(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  return deviation(values) / std::sqrt(static_cast<double>(values.size()));
}

double perplexity(std::span<const double> loglikelihoods) {
  return std::exp(-mean(loglikelihoods));
}

std::optional<double> perplexity_standard_error(std::span<const double> loglikelihoods) {
  if (loglikelihoods.size() < 2) return std::nullopt;
  constexpr int chunks = 100;
  constexpr int draws = 1000;
  const auto size = static_cast<double>(loglikelihoods.size());
  std::vector<double> perplexities(std::size_t{chunks} * draws);
#pragma omp parallel for schedule(dynamic)
  for (int chunk = 0; chunk < chunks; ++chunk) {
    PythonRandom random(static_cast<std::uint64_t>(chunk));
    std::vector<double> drawn(loglikelihoods.size());
    for (int draw = 0; draw < draws; ++draw) {
      for (double& x : drawn) x = loglikelihoods[static_cast<std::size_t>(random.real() * size)];
      perplexities[static_cast<std::size_t>(chunk * draws + draw)] = perplexity(drawn);
    }
  }
  return deviation(perplexities);
}

}  // namespace memengine
