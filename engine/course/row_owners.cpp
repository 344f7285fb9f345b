// Chapter 10: who owns a row, what two ranks ask each other for, and how a row's gradient is
// summed.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "engine/course/answer.h"
#include "engine/course/blackboard.h"
#include "engine/course/chapter.h"
#include "kernels/table/spread/row_owners.h"

namespace memengine::course {
namespace row_owners {
namespace {

constexpr std::int64_t v_dim = 64;
constexpr std::int64_t row_bytes = 2 * v_dim;       // BF16 weights
constexpr std::int64_t gradient_bytes = 4 * v_dim;  // FP32

// A rank's distinct rows by owner, and how often it picked each.
struct Listed {
  std::vector<std::int32_t> rows, owners, counts, times;
};

Listed list_rows(const std::vector<std::int32_t>& picks, const RowOwners& owners) {
  Blackboard board;
  const Tensor list = board.integers(picks);
  const Tensor numbers = board.zeros(DType::i32, {list.size()});
  spread_numbers(board.context(), numbers, list, owners);
  const UniqueRows unique = board.deduplicate(numbers, owners.numbers());
  const Tensor counts = board.zeros(DType::i32, {owners.ranks});
  count_by_owner(board.context(), counts, unique, owners);
  Listed listed;
  listed.counts = integers_of(counts);
  const std::int32_t distinct = integers_of(unique.count)[0];
  const std::vector<std::int32_t> offsets = integers_of(unique.offsets, distinct + 1);
  for (const std::int32_t number : integers_of(unique.rows, distinct)) {
    const std::int64_t owner = number / owners.part();
    listed.owners.push_back(static_cast<std::int32_t>(owner));
    listed.rows.push_back(static_cast<std::int32_t>(number % owners.part() * owners.ranks + owner));
    const std::size_t u = listed.rows.size() - 1;
    listed.times.push_back(offsets[u + 1] - offsets[u]);
  }
  return listed;
}

std::int64_t rows_of_others(const Listed& listed, std::size_t rank) {
  std::int64_t rows = 0;
  for (std::size_t owner = 0; owner < listed.counts.size(); ++owner) {
    if (owner != rank) rows += listed.counts[owner];
  }
  return rows;
}

std::string example() {
  const RowOwners owners{.rows = 10, .ranks = 2};
  const std::vector<std::vector<std::int32_t>> picks = {{7, 2, 9, 7, 2, 7}, {4, 7, 5, 4, 4, 2}};
  std::string text = "10 rows, 2 ranks: row r belongs to rank r mod 2, at place r / 2\n";
  std::vector<Listed> lists;
  for (std::size_t rank = 0; rank < picks.size(); ++rank) {
    const Listed listed = list_rows(picks[rank], owners);
    text += fmt::format(
        "\nrank {} picks {}\n  distinct rows, by owner  {}\n  of rank 0: {}, of rank 1: {}\n"
        "  it gets {} bytes of weights for the lookup, and hands in {} bytes of gradients\n",
        rank, fmt::join(picks[rank], " "), fmt::join(listed.rows, " "), listed.counts[0],
        listed.counts[1], rows_of_others(listed, rank) * row_bytes,
        rows_of_others(listed, rank) * gradient_bytes);
    lists.push_back(listed);
  }
  text += "\ngradients of rows, where each pick's is 1\n";
  for (std::int32_t row = 0; row < owners.rows; ++row) {
    std::string terms;
    int sum = 0;
    for (std::size_t rank = 0; rank < lists.size(); ++rank) {
      for (std::size_t u = 0; u < lists[rank].rows.size(); ++u) {
        if (lists[rank].rows[u] != row) continue;
        terms +=
            fmt::format("{}{} of rank {}", terms.empty() ? "" : " + ", lists[rank].times[u], rank);
        sum += lists[rank].times[u];
      }
    }
    if (!terms.empty()) {
      text += fmt::format("  row {} at rank {}: {} = {}\n", row, row % owners.ranks, terms, sum);
    }
  }
  text.pop_back();
  return text;
}

const RowOwners asked_owners{.rows = 20, .ranks = 3};
const std::vector<std::int32_t> asked_picks = {14, 3, 14, 8, 6, 1};
constexpr std::size_t asked_rank = 1;

std::string question() {
  return fmt::format(
      "{} rows, {} ranks; rank {} picks {}. How many rows does it list of rank 0, of rank 1, of\n"
      "rank 2, and how many bytes of BF16 weights (rows of {}) come from the others? (four "
      "numbers)",
      asked_owners.rows, asked_owners.ranks, asked_rank, fmt::join(asked_picks, " "), v_dim);
}

Verdict check(const std::string& answer) {
  const std::vector<double> given =
      read_numbers(answer, 4, "rows listed of each of the three ranks, then bytes");
  const Listed listed = list_rows(asked_picks, asked_owners);
  std::vector<double> by_pick(3), by_part(3);
  for (const std::int32_t row : asked_picks) ++by_pick[static_cast<std::size_t>(row % 3)];
  for (const std::int32_t row : listed.rows)
    ++by_part[static_cast<std::size_t>(row / asked_owners.part())];
  const std::vector<double> counts(given.begin(), given.begin() + 3);
  if (counts == by_pick) {
    return {false, "a row that is picked twice is listed once: de-duplicate before you count"};
  }
  if (counts == by_part) {
    return {false, "rows are dealt out in turn, not in pieces: row r belongs to rank r mod 3"};
  }
  if (counts != as_doubles(listed.counts)) {
    return {false, "write down the distinct rows, and below each its number modulo 3"};
  }
  const auto others = static_cast<double>(rows_of_others(listed, asked_rank));
  const auto all = static_cast<double>(listed.rows.size());
  if (agree(given[3], all * row_bytes)) {
    return {false, "the counts are right; the rank's own row does not travel"};
  }
  if (agree(given[3], others * gradient_bytes)) {
    return {false, "the counts are right; gradients travel in FP32, weights in BF16"};
  }
  if (!agree(given[3], others * row_bytes)) {
    return {false, fmt::format("the counts are right; a row of {} BF16 numbers is {} bytes", v_dim,
                               row_bytes)};
  }
  return {true, fmt::format("Of {} picks {} rows come from others, each once.", asked_picks.size(),
                            others)};
}

}  // namespace
}  // namespace row_owners

Chapter row_owners_chapter() {
  return {10,
          "10_many_gpus",
          "Many GPUs, one exact model",
          row_owners::example,
          row_owners::question,
          row_owners::check};
}

}  // namespace memengine::course
