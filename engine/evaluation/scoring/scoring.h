// Scores of one answer, and their mean and standard error over a task.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace memengine {

// The choice that a model picks: the largest log-likelihood, the first of equals.
//   acc       by the sum over the choice's tokens
//   acc_norm  by that sum divided by the choice's length in characters (delimiter not counted)
// A log-likelihood that is not a number is an internal error.
int predicted_choice(std::span<const double> loglikelihoods);
int predicted_choice_normalized(std::span<const double> loglikelihoods,
                                std::span<const std::string> choices);

// The generated text up to the first stop string in it; the stop strings are tried in order, each
// on what the one before left. Bytes that are not UTF-8 become U+FFFD.
std::string cut_at_stop_strings(std::string_view text, std::span<const std::string> until);

// True when the answer equals any accepted one after both lose their articles ("the ", "a ", "an "
// and capitalized, where a word begins), upper case and ASCII punctuation. Spaces stay as they are;
// strip the answer before (the harness's filter remove_whitespace).
bool exact_match(std::string_view answer, std::span<const std::string> accepted);

// Sum and mean as Python computes them on floats (compensated since Python 3.12), and the sample
// standard error sqrt(sum (x - mean)^2 / (n - 1)) / sqrt(n); none for fewer than two values.
double mean(std::span<const double> values);
std::optional<double> standard_error(std::span<const double> values);

// exp(-mean), and its bootstrapped standard error: the deviation of the perplexities of 100,000
// draws, with repetition, of as many log-likelihoods as there are (Efron 1979). Draws 1000 i to
// 1000 i + 999 are random.Random(i).choices(...), as in the harness; none for fewer than two.
double perplexity(std::span<const double> loglikelihoods);
std::optional<double> perplexity_standard_error(std::span<const double> loglikelihoods);

}  // namespace memengine
