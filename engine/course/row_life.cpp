// Chapter 5: rows of a host table on their way to the GPU and back.
//
// The table has ten rows of 128 numbers and the row cache three places; the CPU plays both sides of
// the link. All weights are 1.0, all gradients 1 and the learning rate is 0.1, so that the first
// update of a row makes 0.9 of it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/course/answer.h"
#include "engine/course/blackboard.h"
#include "engine/course/chapter.h"
#include "kernels/table/staged_rows/staged_rows.h"
#include "optim/sparse_adam.h"

namespace memengine::course {
namespace row_life {
namespace {

constexpr std::int64_t table_rows = 10, v_dim = 128, places = 3, most_guests = 4, most_picks = 4;

struct Move {
  std::int32_t row, place, from;  // from: the place where its weights are already, or -1
};

struct StepMoves {
  std::vector<std::int32_t> guests, pick_places;
  std::vector<Move> coming, going;
};

Schedule constant_rate() {
  OptimConfig config;
  config.scheduler = Scheduler::constant;
  return make_schedule(config, 0.1, 0, 10);
}

class HostTable {
 public:
  HostTable()
      : table_(board_.table(table_rows, v_dim, 1)),
        staged_(staged_rows({.places = places,
                             .guests = most_guests,
                             .listed = most_picks,
                             .table_rows = table_rows},
                            table_.layout,
                            [&](DType dtype, std::initializer_list<std::int64_t> shape) {
                              return board_.zeros(dtype, shape);
                            })),
        state_(board_.updates(constant_rate())) {
    empty_staging(board_.context(), staged_);
  }

  // One step from its lookup to its update, as ValueTable::locate() and RowExchange order it.
  StepMoves step(const std::vector<std::int32_t>& picks) {
    const Context& context = board_.context();
    StepMoves moves;
    const Tensor list = board_.integers(picks);
    const Tensor located = board_.zeros(DType::i32, {list.size()});
    forget_guests(context, staged_);
    invite_guests(context, staged_, list);
    UniqueRows invited;
    invited.rows = staged_.guests;
    invited.count = staged_.pass.rows(1, 1);
    gather_rows(context, guest_rows(staged_), table_, invited, ValuePrecision::bf16, {}, {},
                staged_.pass.rows(0, 1));
    place_picks(context, located, list, staged_);
    moves.guests = integers_of(staged_.guests, integers_of(invited.count)[0]);
    moves.pick_places = integers_of(located);

    const UniqueRows unique = board_.deduplicate(list, table_rows);
    plan_exchange(context, staged_, unique);
    const std::vector<std::int32_t> counts = integers_of(staged_.moves);
    const auto at = [](const Tensor& lists, std::int64_t list_number, std::int64_t i) {
      return lists.as<std::int32_t>()[list_number * lists.dim(1) + i];
    };
    for (std::int64_t i = 0; i < counts[0]; ++i) {
      moves.coming.push_back(
          {at(staged_.coming, 0, i), at(staged_.coming, 1, i), at(staged_.coming, 2, i)});
    }
    for (std::int64_t i = 0; i < counts[1]; ++i) {
      moves.going.push_back({at(staged_.going, 0, i), at(staged_.going, 1, i), -1});
    }
    exchange_rows(context, staged_, table_, ExchangePace::alone);

    const Tensor gradients =
        board_.floats({most_picks, v_dim}, std::vector<float>(most_picks * v_dim, 1));
    sparse_adam(context, table_, staged_, unique, gradients, board_.integers({0}), state_,
                AdamHyperparameters{}, 0);
    advance_step(context, state_);
    return moves;
  }

  // "place 0: row 2 0.9 (1.0 in the table)".
  std::string cache_line() const {
    std::string line;
    for (std::int64_t place = 0; place < *staged_.occupied.as<std::int32_t>(); ++place) {
      const std::int32_t row = staged_.row_at.as<std::int32_t>()[place];
      line += fmt::format("{}place {} row {} heat {} weights {:.2f} (table {:.2f})",
                          line.empty() ? "" : "\n              ", place, row,
                          staged_.heat.as<std::uint8_t>()[place],
                          first_weight(staged_.values, place), first_weight(table_, row));
    }
    return line;
  }
  std::int64_t weight_bytes() const { return 2 * v_dim; }
  std::int64_t record_bytes() const { return table_.layout.bytes(); }

 private:
  Blackboard board_;
  ValueRows table_;
  StagedRows staged_;
  UpdateState state_;
};

std::int64_t bytes_to_gpu(const HostTable& table, const StepMoves& moves) {
  auto bytes = static_cast<std::int64_t>(moves.guests.size()) * table.weight_bytes();
  for (const Move& move : moves.coming) {
    bytes += table.record_bytes() + (move.from < 0 ? table.weight_bytes() : 0);
  }
  return bytes;
}

std::int64_t bytes_to_host(const HostTable& table, const StepMoves& moves) {
  return static_cast<std::int64_t>(moves.going.size()) *
         (table.weight_bytes() + table.record_bytes());
}

const std::vector<std::vector<std::int32_t>> shown = {{7, 2, 9, 7}, {7, 4, 7, 7}};
const std::vector<std::int32_t> asked = {5, 4, 5, 4};

std::string example() {
  HostTable table;
  std::string text = fmt::format(
      "A table of {} rows in host memory, {} places in GPU memory, guests from place {} on.\n"
      "Of a row {} bytes of BF16 weights are read; its record, {} bytes, is the optimizer's.\n",
      table_rows, places, places, table.weight_bytes(), table.record_bytes());
  for (std::size_t step = 0; step < shown.size(); ++step) {
    const StepMoves moves = table.step(shown[step]);
    text += fmt::format(
        "\nstep {}: picks {}\n  guests      {}: weights read to places from {} on\n"
        "  bags read   places {}\n",
        step + 1, fmt::join(shown[step], " "), fmt::join(moves.guests, " "), places,
        fmt::join(moves.pick_places, " "));
    std::vector<std::string> exchanged;
    for (const Move& move : moves.coming) {
      exchanged.push_back(fmt::format("row {} moves in at place {}", move.row, move.place));
    }
    for (const Move& move : moves.going) {
      exchanged.push_back(fmt::format("row {} goes home", move.row));
    }
    text += fmt::format("  exchange    {}", fmt::join(exchanged, ", "));
    text += fmt::format("\n  the link    {} bytes to the GPU, {} bytes to the host\n",
                        bytes_to_gpu(table, moves), bytes_to_host(table, moves));
    text +=
        fmt::format("  after it    {}{}", table.cache_line(), step + 1 < shown.size() ? "\n" : "");
  }
  return text;
}

std::string question() {
  return fmt::format(
      "Step 3 picks {}. Which row goes home, to which place does row 5 move, and how many\n"
      "bytes cross the link to the GPU, and how many to the host? Four whole numbers.",
      fmt::join(asked, " "));
}

Verdict check(const std::string& answer) {
  const std::vector<double> given =
      read_numbers(answer, 4, "a row, a place, bytes to the GPU, bytes to the host");
  HostTable table;
  for (const std::vector<std::int32_t>& picks : shown) table.step(picks);
  const StepMoves moves = table.step(asked);
  const auto to_gpu = static_cast<double>(bytes_to_gpu(table, moves));
  const auto to_host = static_cast<double>(bytes_to_host(table, moves));
  const auto whole = static_cast<double>(table.weight_bytes() + table.record_bytes());
  if (given[0] == 4) {
    return {false,
            "row 4 is used by this step; the row that goes is one that the step does not use"};
  }
  if (given[0] != moves.going[0].row) {
    return {false,
            "of the rows that the step does not use the coldest goes: heat forgets an eighth "
            "with every step and a use adds 31"};
  }
  if (given[1] >= static_cast<double>(places)) {
    return {false,
            "the row is right; that is a guest's place, which ends with the pass: the exchange "
            "moves the row to the place of the one that goes"};
  }
  if (given[1] != moves.coming[0].place) {
    return {false,
            "the first row is right; the row that comes takes the place of the one that goes"};
  }
  if (given[2] == whole + static_cast<double>(table.weight_bytes())) {
    return {false,
            "rows are right; the weights cross once: the exchange copies them from the guest's "
            "place, in GPU memory"};
  }
  if (given[2] != to_gpu) {
    return {false, "rows are right; to the GPU go the guest's weights and then its record"};
  }
  if (given[3] != to_host) {
    return {false, "all but the last are right; a row goes home whole, weights and record"};
  }
  return {true, "Row 4 was at home in GPU memory already: nothing of it crossed the link."};
}

}  // namespace
}  // namespace row_life

Chapter row_life_chapter() {
  return {5,
          "05_host_memory",
          "PCIe, and a row's life between host and GPU",
          row_life::example,
          row_life::question,
          row_life::check};
}

}  // namespace memengine::course
