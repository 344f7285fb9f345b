// Chapter 2: the best of n² rows from 2n scores.
//
// Sub-keys are single numbers here and the query is (1, 1), so a sub-key is its own score.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/course/answer.h"
#include "engine/course/blackboard.h"
#include "engine/course/chapter.h"
#include "kernels/product_key/product_key.h"
#include "kernels/product_key/select.h"

namespace memengine::course {
namespace product_keys {
namespace {

using product_key::pair_count;

struct Scores {
  std::vector<float> first, second;  // [n] each
  std::int64_t n_keys() const { return static_cast<std::int64_t>(first.size()); }
};

struct Picks {
  std::vector<std::int32_t> rows;  // best first
  std::vector<float> weights;
};

Picks look_up(const Scores& scores, std::int64_t knn) {
  Blackboard board;
  std::vector<float> sub_keys = scores.first;
  sub_keys.insert(sub_keys.end(), scores.second.begin(), scores.second.end());
  const Tensor indices = board.zeros(DType::i32, {1, 1, knn});
  const Tensor weights = board.zeros(DType::f32, {1, 1, knn});
  product_key_forward(board.context(), indices, weights, board.floats({1, 1, 2}, {1, 1}),
                      board.floats({1, 2, scores.n_keys(), 1}, sub_keys));
  return {integers_of(indices), floats_of(weights)};
}

// The same by adding up all n² pairs.
std::vector<std::int32_t> look_at_all(const Scores& scores, std::int64_t knn) {
  std::vector<product_key::PairCandidate<float>> pairs;
  for (std::int64_t i = 0; i < scores.n_keys(); ++i) {
    for (std::int64_t j = 0; j < scores.n_keys(); ++j) {
      const auto half = [](const std::vector<float>& of, std::int64_t key) {
        return product_key::Candidate<float>{of[static_cast<std::size_t>(key)],
                                             static_cast<std::int32_t>(key)};
      };
      pairs.push_back(
          product_key::make_pair(half(scores.first, i), half(scores.second, j), scores.n_keys()));
    }
  }
  std::sort(pairs.begin(), pairs.end(), product_key::better_pair<float>);
  std::vector<std::int32_t> rows;
  for (std::int64_t k = 0; k < knn; ++k) rows.push_back(pairs[static_cast<std::size_t>(k)].row);
  return rows;
}

std::vector<product_key::Candidate<float>> best_of(const std::vector<float>& scores,
                                                   std::int64_t knn) {
  std::vector<product_key::Candidate<float>> best(static_cast<std::size_t>(2 * knn));
  product_key::select_best(best.data(), scores.data(), static_cast<std::int64_t>(scores.size()),
                           knn);
  best.resize(static_cast<std::size_t>(knn));
  return best;
}

const Scores shown = {{2.0F, 0.1F, 1.5F, 0.3F, 1.8F, -1.0F}, {1.0F, 1.9F, 0.2F, 1.5F, 0.9F, -0.5F}};
constexpr std::int64_t shown_knn = 4;

std::string example() {
  const auto first = best_of(shown.first, shown_knn);
  const auto second = best_of(shown.second, shown_knn);
  std::string text = fmt::format(
      "n = {} sub-keys per half, knn = {}\nscores of the first half   {:.1f}\n"
      "scores of the second half  {:.1f}\n\nthe {} best of each half, and the sums of "
      "those pairs that can be among the {} best\n\n          key",
      shown.n_keys(), shown_knn, fmt::join(shown.first, "  "), fmt::join(shown.second, "  "),
      shown_knn, shown_knn);
  for (const auto& half : second) text += fmt::format("{:>6}", half.index);
  text += "\n  key  score ";
  for (const auto& half : second) text += fmt::format("{:>6.1f}", half.score);
  for (std::int64_t a = 0; a < shown_knn; ++a) {
    const auto& half = first[static_cast<std::size_t>(a)];
    text += fmt::format("\n{:>5} {:>6.1f} ", half.index, half.score);
    for (std::int64_t b = 0; b < shown_knn; ++b) {
      const bool possible = (a + 1) * (b + 1) <= shown_knn;
      text += possible
                  ? fmt::format("{:>6.1f}", half.score + second[static_cast<std::size_t>(b)].score)
                  : "     .";
    }
  }
  const Picks picks = look_up(shown, shown_knn);
  text += "\n\npicked, best first     row = first key * 6 + second key\n";
  for (std::size_t k = 0; k < picks.rows.size(); ++k) {
    text += fmt::format("  row {:>2} = {} * 6 + {}   weight {:.3f}\n", picks.rows[k],
                        picks.rows[k] / 6, picks.rows[k] % 6, picks.weights[k]);
  }
  text += fmt::format("all 36 sums, sorted, begin with rows {}\n\nknn                 ",
                      fmt::join(look_at_all(shown, shown_knn), " "));
  for (const std::int64_t knn : {4, 8, 16, 32, 64, 128}) text += fmt::format("{:>7}", knn);
  text += "\nsums to look at     ";
  for (const std::int64_t knn : {4, 8, 16, 32, 64, 128})
    text += fmt::format("{:>7}", pair_count(knn));
  text += "\nof knn * knn        ";
  for (const std::int64_t knn : {4, 8, 16, 32, 64, 128}) text += fmt::format("{:>7}", knn * knn);
  return text;
}

const Scores asked = {{0.4F, 2.5F, 1.1F, 2.2F, 0.9F}, {1.6F, 0.7F, 2.0F, 0.1F, 1.9F}};
constexpr std::int64_t asked_knn = 3;

std::string question() {
  return fmt::format(
      "n = {}, knn = {}.\nscores of the first half   {:.1f}\nscores of the second half  {:.1f}\n"
      "Which {} of the {} rows are picked, best first? And how many sums can be among the {} "
      "best,\n"
      "whatever the scores? Four whole numbers.",
      asked.n_keys(), asked_knn, fmt::join(asked.first, "  "), fmt::join(asked.second, "  "),
      asked_knn, asked.n_keys() * asked.n_keys(), asked_knn);
}

Verdict check(const std::string& answer) {
  std::vector<double> given =
      read_numbers(answer, 4, "three rows, best first, and a count of sums");
  const auto sums = static_cast<double>(pair_count(asked_knn));
  const double given_sums = given.back();
  given.pop_back();
  const std::vector<std::int32_t> rows = look_up(asked, asked_knn).rows;
  std::vector<double> swapped;
  for (const std::int32_t row : rows) swapped.push_back((row % 5) * 5 + row / 5);
  std::vector<double> sorted = as_doubles(rows);
  std::sort(sorted.begin(), sorted.end());
  if (given == swapped) return {false, "the halves are swapped: row = first key * n + second key"};
  if (given != as_doubles(rows)) {
    std::sort(given.begin(), given.end());
    if (given == sorted)
      return {false, "these are the rows, but not best first: compare their sums"};
    return {false,
            "take the 3 best keys of each half with their scores, add up the staircase (the "
            "best with all three, the second with the best, the third with the best), and "
            "keep the 3 largest sums; row = first key * 5 + second key"};
  }
  if (given_sums == 9) {
    return {false,
            "the rows are right; 9 are all pairs of the two lists, but pair (a, b), counted "
            "from 0, has (a + 1)(b + 1) - 1 pairs before it"};
  }
  if (given_sums != sums) {
    return {false, "the rows are right; count the pairs (a, b), from 0, with (a + 1)(b + 1) <= 3"};
  }
  return {true,
          fmt::format("{} sums of 25 rows' scores, and every other row is beaten by 3 of them.",
                      pair_count(asked_knn))};
}

}  // namespace
}  // namespace product_keys

Chapter product_keys_chapter() {
  return {2,
          "02_product_keys",
          "Product keys: the best of n² rows from 2n scores",
          product_keys::example,
          product_keys::question,
          product_keys::check};
}

}  // namespace memengine::course
