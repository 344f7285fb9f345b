// Chapter 3: who picked which row, and the gradient of a row from those who picked it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/course/answer.h"
#include "engine/course/blackboard.h"
#include "engine/course/chapter.h"
#include "kernels/bag/embedding_bag.h"

namespace memengine::course {
namespace six_picks {
namespace {

// N tokens of K picks each; rows of one number.
struct Lookup {
  std::vector<std::int32_t> picks;  // [N, K]
  std::vector<float> weights;       // [N, K]
  std::vector<float> dout;          // [N, 1]: the gradient of each token's bag
  std::int64_t table_rows;
};

struct Gradients {
  std::vector<std::int32_t> rows, inverse, order, offsets;
  std::vector<float> of_rows;  // [U]
};

Gradients look_up(const Lookup& lookup) {
  Blackboard board;
  const UniqueRows unique = board.deduplicate(board.integers(lookup.picks), lookup.table_rows);
  const auto tokens = static_cast<std::int64_t>(lookup.dout.size());
  const auto picks = static_cast<std::int64_t>(lookup.picks.size());
  const std::int64_t count = integers_of(unique.count)[0];
  const Tensor gradients = board.zeros(DType::f32, {unique.capacity(), 1});
  const Tensor square_sum = board.zeros(DType::f64, {1});
  embedding_bag_backward_rows(board.context(), gradients, square_sum,
                              board.floats({tokens, picks / tokens}, lookup.weights),
                              board.floats({tokens, 1}, lookup.dout), unique);
  return {integers_of(unique.rows, count), integers_of(unique.inverse), integers_of(unique.order),
          integers_of(unique.offsets, count + 1), floats_of(gradients, count)};
}

std::vector<std::int32_t> counting(std::size_t count) {
  std::vector<std::int32_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = static_cast<std::int32_t>(i);
  return numbers;
}

// Three tokens of two picks; the picks of kernels/table/deduplicate.h.
const Lookup shown = {{7, 2, 9, 7, 2, 7}, {0.5F, 0.5F, 0.25F, 0.75F, 0.25F, 0.75F}, {1, 2, 4}, 10};

std::string example() {
  const Gradients found = look_up(shown);
  const std::size_t count = found.rows.size();
  std::string text = line_of("p", counting(shown.picks.size())) + '\n';
  text += line_of("token", {0, 0, 1, 1, 2, 2}) + '\n';
  text += line_of("picks", shown.picks) + '\n';
  text += line_of("inverse", found.inverse) + "\n\n";
  text += line_of("u", counting(count)) + '\n';
  text += line_of("rows", found.rows) + '\n';
  text += line_of("offsets", found.offsets) + '\n';
  text += line_of("order", found.order) + '\n';
  text += fmt::format("\nweight of pick p       {}\ngradient of token's bag  {}\n",
                      fmt::join(shown.weights, "  "), fmt::join(shown.dout, "  "));
  for (std::size_t u = 0; u < count; ++u) {
    std::string terms;
    for (auto i = static_cast<std::size_t>(found.offsets[u]);
         i < static_cast<std::size_t>(found.offsets[u + 1]); ++i) {
      const auto p = static_cast<std::size_t>(found.order[i]);
      terms +=
          fmt::format("{}{} * {}", terms.empty() ? "" : " + ", shown.weights[p], shown.dout[p / 2]);
    }
    text +=
        fmt::format("\ngradient of row {} = {:<30} = {}", found.rows[u], terms, found.of_rows[u]);
  }
  return text;
}

// Four tokens of two picks.
const Lookup asked = {{5, 3, 5, 8, 3, 5, 1, 5},
                      {0.5F, 0.5F, 0.75F, 0.25F, 0.5F, 0.5F, 0.75F, 0.25F},
                      {1, 2, 3, 4},
                      10};

std::string question() {
  return fmt::format(
      "Four tokens of two picks: picks {}, weights {},\n"
      "gradients of the tokens' bags {}. What is `inverse` (eight numbers), and what is the\n"
      "gradient of row 5 (one more)?",
      fmt::join(asked.picks, " "), fmt::join(asked.weights, " "), fmt::join(asked.dout, " "));
}

Verdict check(const std::string& answer) {
  std::vector<double> given = read_numbers(answer, 9, "eight of `inverse`, then a gradient");
  const Gradients found = look_up(asked);
  const double given_gradient = given.back();
  given.pop_back();
  if (given == as_doubles(found.order)) {
    return {false,
            "that is `order`, the picks sorted by row; `inverse` says of pick p at which place "
            "of the list `rows` its row stands"};
  }
  if (given == as_doubles(asked.picks)) {
    return {false, "these are the rows themselves; `inverse` has their places in the list `rows`"};
  }
  std::vector<std::int32_t> seen;
  std::vector<double> as_they_come;
  for (const std::int32_t pick : asked.picks) {
    const auto at = std::find(seen.begin(), seen.end(), pick);
    as_they_come.push_back(static_cast<double>(at - seen.begin()));
    if (at == seen.end()) seen.push_back(pick);
  }
  if (given == as_they_come) {
    return {false, "rows are numbered here as they come; the list `rows` is sorted"};
  }
  if (given != as_doubles(found.inverse)) {
    return {false,
            "write down the distinct rows in ascending order, number them from 0, and put that "
            "number below each pick"};
  }
  const auto place = std::find(found.rows.begin(), found.rows.end(), 5) - found.rows.begin();
  const double gradient = found.of_rows[static_cast<std::size_t>(place)];
  if (!agree(given_gradient, gradient)) {
    return {false,
            "`inverse` is right; the gradient of row 5 is the sum over its four picks of the "
            "pick's weight times the gradient of the pick's token (pick p is of token p / 2)"};
  }
  return {true,
          fmt::format("Row 5 is place {} of the list; picks 0, 2, 5 and 7 are its segment, added "
                      "in this order every time.",
                      place)};
}

}  // namespace
}  // namespace six_picks

Chapter six_picks_chapter() {
  return {3,
          "03_six_picks",
          "Six picks: de-duplication and gradients by segments",
          six_picks::example,
          six_picks::question,
          six_picks::check};
}

}  // namespace memengine::course
