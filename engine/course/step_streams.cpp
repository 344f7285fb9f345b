// Chapter 7: when the parts of a step run, in a model of three streams with lengths that are easy
// to add up. The order of work and waits is that of TrainingModel and RowExchange.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "engine/course/answer.h"
#include "engine/course/chapter.h"

namespace memengine::course {
namespace step_streams {
namespace {

// How much faster the exchange is with the whole GPU than in a few blocks beside other work.
constexpr double alone_pace = 4;

struct Lengths {
  double lookups, plan, copies, head, row_gradients, rest, norms, update_rows, update_dense;
};

struct Stream {
  const char* name;
  double free = 0;  // when what was enqueued so far is done
};

struct Piece {
  const char* stream;
  const char* name;
  double begin, end;
};

class Timeline {
 public:
  // `early`: the exchange begins once the picks are there; else with finish_step().
  Timeline(const Lengths& l, bool early) {
    run(main_, "layers up to the last lookup", l.lookups);
    wait_for(side_, main_);  // RowExchange::start()
    run(side_, "distinct rows, who goes and comes", l.plan);
    double left = l.copies;
    if (early) wait_for(link_, side_);
    const double copies_begin = link_.free;
    run(main_, "head, backward to the first memory", l.head);
    wait_for(side_, main_);  // TrainingModel::reduce_rows()
    run(side_, "row gradients, their norm", l.row_gradients);
    run(main_, "the rest of the backward pass", l.rest);
    run(main_, "norm of the dense gradients", l.norms);
    wait_for(main_, side_);  // TrainingModel::finish_step()
    if (early) {
      const double done = std::min(left, main_.free - copies_begin);
      left -= done;
      link_.free = copies_begin + done;
      pieces_.push_back({"link", "rows go and come", copies_begin, link_.free});
    }
    if (left > 0) run(main_, "what is left of the exchange", left / alone_pace);
    wait_for(side_, main_);
    run(side_, "update of rows", l.update_rows);
    run(main_, "update of dense weights", l.update_dense);
    wait_for(main_, side_);
  }

  double end() const { return main_.free; }

  std::string text() const {
    std::string lines;
    for (const char* stream : {"main", "side", "link"}) {
      for (const Piece& piece : pieces_) {
        if (std::string(piece.stream) != stream) continue;
        const auto place = [](double time) { return static_cast<std::size_t>(4 * time + 0.5); };
        lines += fmt::format("{:<5}{:<36}{:>6} {:>5}  {}{}\n", stream, piece.name, piece.begin,
                             piece.end, std::string(place(piece.begin) / 2, ' '),
                             std::string((place(piece.end) - place(piece.begin)) / 2, '#'));
      }
    }
    return lines;
  }

 private:
  void run(Stream& stream, const char* name, double length) {
    pieces_.push_back({stream.name, name, stream.free, stream.free + length});
    stream.free += length;
  }
  static void wait_for(Stream& waiting, const Stream& other) {
    waiting.free = std::max(waiting.free, other.free);
  }

  Stream main_{"main"}, side_{"side"}, link_{"link"};
  std::vector<Piece> pieces_;
};

constexpr Lengths shown = {.lookups = 3,
                           .plan = 1,
                           .copies = 9,
                           .head = 4,
                           .row_gradients = 2,
                           .rest = 3,
                           .norms = 1,
                           .update_rows = 2,
                           .update_dense = 1};

double one_after_the_other(const Lengths& l) {
  return l.lookups + l.plan + l.copies / alone_pace + l.head + l.row_gradients + l.rest + l.norms +
         l.update_rows + l.update_dense;
}

std::string example() {
  const Timeline early(shown, true);
  return fmt::format(
      "stream  part of the step                 begin   end\n{}\n"
      "the step ends at {}; with the exchange begun only in finish_step() at {};\n"
      "on one stream, one after the other, at {}",
      early.text(), early.end(), Timeline(shown, false).end(), one_after_the_other(shown));
}

constexpr Lengths asked = {.lookups = 2,
                           .plan = 1,
                           .copies = 9,
                           .head = 3,
                           .row_gradients = 4,
                           .rest = 1,
                           .norms = 1,
                           .update_rows = 3,
                           .update_dense = 1};

std::string question() {
  return fmt::format(
      "Another step: lookups {}, distinct rows {}, copies {} (beside other work; {} times as fast\n"
      "alone), head and backward to the first memory {}, row gradients {}, rest {}, norm {},\n"
      "update of rows {}, of dense weights {}. When does it end, and when would it end if the\n"
      "exchange began only in finish_step()? (two numbers)",
      asked.lookups, asked.plan, asked.copies, alone_pace, asked.head, asked.row_gradients,
      asked.rest, asked.norms, asked.update_rows, asked.update_dense);
}

Verdict check(const std::string& answer) {
  const std::vector<double> given = read_numbers(answer, 2,
                                                 "when the step ends, with the exchange "
                                                 "begun early and late");
  const double early = Timeline(asked, true).end();
  const double late = Timeline(asked, false).end();
  const double begin = asked.lookups + asked.plan;  // of the copies
  const double norms = asked.lookups + asked.head + asked.rest + asked.norms;
  const double unwaited = norms + (asked.copies - (norms - begin)) / alone_pace;
  if (agree(given[0], begin + asked.copies + asked.update_rows)) {
    return {false,
            "the copies need not end at their slow pace: once the main stream has nothing else to "
            "do, it takes part, and what is left goes four times as fast"};
  }
  if (agree(given[0], unwaited + asked.update_rows)) {
    return {false,
            "clipping needs the norm of the row gradients too: the main stream waits for the side "
            "stream before it finishes the exchange"};
  }
  if (agree(given[0], early - asked.update_rows + asked.update_dense)) {
    return {false, "rows and dense weights are updated side by side: the longer of the two counts"};
  }
  if (!agree(given[0], early)) {
    return {false,
            "draw three lines, main, side and link; a part begins when its stream is free and what "
            "it waits for is done"};
  }
  if (agree(given[1], late - asked.copies / alone_pace)) {
    return {false, "the copies still have to be made, only later"};
  }
  if (!agree(given[1], late)) {
    return {false,
            "the first time is right; for the second all the copies are made at the fast pace, "
            "after the norms"};
  }
  return {true,
          fmt::format("Of {} units of copying the early begin hides all but {}.", asked.copies,
                      (early - (late - asked.copies / alone_pace)) * alone_pace)};
}

}  // namespace
}  // namespace step_streams

Chapter step_streams_chapter() {
  return {7,
          "07_three_streams",
          "The timeline of a step on three streams",
          step_streams::example,
          step_streams::question,
          step_streams::check};
}

}  // namespace memengine::course
