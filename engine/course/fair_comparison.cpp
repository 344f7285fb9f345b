// Chapter 11: two comparisons that go wrong easily: of two programs on one machine, and of two
// models at equal steps.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <string>
#include <vector>

#include "engine/course/answer.h"
#include "engine/course/chapter.h"

namespace memengine::course {
namespace fair_comparison {
namespace {

// Milliseconds of runs of two programs, A and B, in the order they were made.
struct Runs {
  std::string order;
  std::vector<double> ms;

  double mean(char program) const {
    double sum = 0, count = 0;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (order[i] == program) sum += ms[i], ++count;
    }
    return sum / count;
  }
};

// A takes 100 ms, B 98, and the machine gets slower by 1 ms from run to run.
Runs drifting(const std::string& order) {
  Runs runs{order, {}};
  for (std::size_t i = 0; i < order.size(); ++i) {
    runs.ms.push_back((order[i] == 'A' ? 100 : 98) + static_cast<double>(i));
  }
  return runs;
}

// Steps of a dense model and of one with a memory, from "Steps of a memory model" of tests/GPU.md.
struct Price {
  const char* shape;
  double memory_ms, dense_ms;
};
const std::vector<Price> prices = {{"synthetic people, memory in layer 1", 3.15, 1.87},
                                   {"memory_recipe", 11.95, 7.27},
                                   {"memory_recipe, 1 head", 8.64, 7.27},
                                   {"memory_373m, tuned", 111.0, 103.0}};

std::string example() {
  std::string text =
      "A takes 100 ms, B 98 ms; each run is 1 ms slower than the one before\n\n"
      "order    measured, ms                     mean of A   mean of B   B is\n";
  for (const char* order : {"AAABBB", "ABABAB", "ABBAAB", "ABBA"}) {
    const Runs runs = drifting(order);
    const double gain = runs.mean('A') - runs.mean('B');
    text += fmt::format("{:<8} {:<32} {:>9.2f} {:>11.2f}   {:.2f} ms {}\n", order,
                        fmt::format("{}", fmt::join(runs.ms, " ")), runs.mean('A'), runs.mean('B'),
                        std::abs(gain), gain < 0 ? "slower" : "faster");
  }
  text +=
      "\nmilliseconds of a step               memory   dense   steps of the dense model in the\n"
      "                                                     time of 700 of the memory model\n";
  for (const Price& price : prices) {
    text += fmt::format("{:<37}{:>6}  {:>6}  {:>6.0f}  ({:+.0f}%)\n", price.shape, price.memory_ms,
                        price.dense_ms, 700 * price.memory_ms / price.dense_ms,
                        100 * (price.memory_ms / price.dense_ms - 1));
  }
  text.pop_back();
  return text;
}

const Runs asked_runs{"ABBA", {210, 206, 209, 219}};
constexpr double dense_ms = 5, memory_ms = 10;
const std::vector<double> dense_losses = {4.0, 3.7, 3.5, 3.4};  // after 1,000 to 4,000 steps
const std::vector<double> memory_losses = {3.9, 3.6};           // after 1,000 and 2,000

std::string question() {
  return fmt::format(
      "Runs of two programs in the order {} took {} ms. By how many ms is B\n"
      "faster? A dense model takes {} ms per step, and its validation loss after 1,000, 2,000,\n"
      "3,000 and 4,000 steps is {}; a memory model takes {} ms, and its loss after 1,000 and\n"
      "2,000 is {}. After 2,000 steps of the memory model, how much lower is its loss\n"
      "than the dense model's at equal steps, and at equal seconds? (three numbers; below zero\n"
      "where it is higher)",
      asked_runs.order, fmt::join(asked_runs.ms, ", "), dense_ms, fmt::join(dense_losses, ", "),
      memory_ms, fmt::join(memory_losses, ", "));
}

Verdict check(const std::string& answer) {
  const std::vector<double> given =
      read_numbers(answer, 3, "milliseconds, a difference at equal steps, one at equal seconds");
  const double faster = asked_runs.mean('A') - asked_runs.mean('B');
  if (agree(given[0], asked_runs.ms[0] - asked_runs.ms[1])) {
    return {false, "that is the first pair alone; the machine had become slower by the second"};
  }
  if (agree(given[0], -faster)) return {false, "B is faster where A takes more: which mean is it?"};
  if (!agree(given[0], faster)) {
    return {false, "the mean of A's two runs less the mean of B's two"};
  }
  const double equal_steps = dense_losses[1] - memory_losses[1];
  const auto same_seconds = static_cast<std::size_t>(2 * memory_ms / dense_ms);
  const double equal_seconds = dense_losses[same_seconds - 1] - memory_losses[1];
  if (!agree(given[1], equal_steps)) {
    return {false, "the time is right; at equal steps both have made 2,000"};
  }
  if (agree(given[2], -equal_seconds)) {
    return {false, "right but for the sign: which of the two has the lower loss?"};
  }
  if (!agree(given[2], equal_seconds)) {
    return {false,
            "how many steps does the dense model make in the seconds of 2,000 of the memory's?"};
  }
  return {true,
          "The same two runs, one gain and one loss: say which you report, tune both models' "
          "learning rates, and give more seeds than one."};
}

}  // namespace
}  // namespace fair_comparison

Chapter fair_comparison_chapter() {
  return {11,
          "11_measuring_honestly",
          "Measuring honestly, and when a memory layer pays",
          fair_comparison::example,
          fair_comparison::question,
          fair_comparison::check};
}

}  // namespace memengine::course
