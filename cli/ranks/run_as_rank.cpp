// See run_as_rank.h. Who speaks when a run of several ranks ends badly:
//   a rank has died                    every other, naming it
//   a rank has failed by itself        it and every other
//   the input is wrong                 rank 0 alone: all of them find it
#include "cli/ranks/run_as_rank.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "cli/terminal.h"
#include "engine/training/bad_numbers.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

void say(const std::string& line) {
  fmt::print(stderr, "memengine: {}\n", printable(line));
}

// The others' part, where one of them has ended.
[[noreturn]] void end_with(const RankEnd& end, bool first) {
  const bool alone_tells = end.told && (end.code == 2 || end.code == 3);
  if (first || !alone_tells) say(end.text);
  throw EndedQuietly{end.code};
}

// Our part: `code` and `text` are of the error that is in flight.
[[noreturn]] void fail(JoinedRanks& ranks, const std::string& text, int code) {
  const bool first = ranks.start.rank == 0;
  const bool wrong = code == 2 || code == 3;
  if (const std::optional<RankEnd> end = ranks.watch->end(); end && !(first && wrong)) {
    end_with(*end, first);
  }
  const bool told = ranks.watch->fail(text, code);
  if (wrong && !first && told) throw EndedQuietly{code};
  throw;
}

void last_resort(const RankEnd& end) {
  say(end.text);
  std::fflush(nullptr);
  ::_exit(end.code);
}

}  // namespace

void said_by_first(const RankStart& start, const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    if (start.rank == 0) throw;
    // A starter ends all ranks when one ends: rank 0 has time to speak.
    std::this_thread::sleep_for(std::chrono::seconds(1));
    throw EndedQuietly{error.kind() == Error::Kind::input ? 2 : 1};
  }
}

void run_as_rank(const RankStart& start, DeviceChoice device,
                 const std::function<void(JoinedRanks&)>& work) {
  if (device != DeviceChoice::cpu) see_own_gpu(start);
  JoinedRanks ranks = join_ranks(start, choose_device(device), say, last_resort, stop_signal);
  if (!ranks.several()) return work(ranks);
  try {
    work(ranks);
    ranks.leave();
  } catch (const Stopped&) {
    ranks.leave();
    throw;
  } catch (const EndedQuietly&) {
    throw;
  } catch (const DivergedError& error) {
    fail(ranks, error.what(), 3);
  } catch (const Error& error) {
    fail(ranks, error.what(), error.kind() == Error::Kind::input ? 2 : 1);
  } catch (const std::bad_alloc&) {
    fail(ranks, "out of host memory", 1);
  } catch (const std::exception& error) {
    fail(ranks, printable(error.what()), 1);
  }
}

}  // namespace memengine
