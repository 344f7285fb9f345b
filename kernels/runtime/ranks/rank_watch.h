// Watches over the ranks of a run from a thread of its own, over the connections of their meeting.
//
// A rank that dies, however it dies, closes its socket: rank 0, who is connected with all, sees it
// at once (a host that went dark within ten seconds) and tells the others. A rank that fails says
// why before it goes. And the ranks agree here after which step to stop, at no cost for the steps
// that are not stopped: when one wants to, rank 0 asks all how many steps they have begun, each
// holds before its next one, and all go on to the furthest and stop there. All of that is done by
// the watches, so that a rank in the middle of a step answers too.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/meeting.h"

namespace memengine {

// Why the run cannot go on: another rank's end.
struct RankEnd {
  int rank = 0;
  std::string text;   // one line, which names it
  int code = 1;       // the exit code it ends with, as far as it could say
  bool told = false;  // it said why: a line of its own stands somewhere
};

class RankEnded : public Error {
 public:
  explicit RankEnded(const RankEnd& end) : Error(Kind::internal, end.text), end_(end) {}
  const RankEnd& end() const { return end_; }

 private:
  RankEnd end_;
};

class RankWatch {
 public:
  struct Options {
    // Called once, on the watch's thread, when another rank has ended: makes waits for it end.
    std::function<void()> on_end;
    // Called when that has not brought the process to its end within `grace_seconds`.
    std::function<void(const RankEnd&)> last_resort;
    // The signal that asks this process to stop, 0 for none: asked several times per second, so
    // that a rank which waits in the middle of a step passes it on too.
    std::function<int()> stop_signal;
    double grace_seconds = 8;
    double answer_seconds = 15;  // for all to answer a request to stop
  };

  // `rank` of `circle`, which it takes.
  RankWatch(int rank, RankCircle circle, Options options);
  // Without leave() before it the others take this for our death.
  ~RankWatch();
  RankWatch(const RankWatch&) = delete;
  RankWatch& operator=(const RankWatch&) = delete;

  std::optional<RankEnd> end() const;
  // Throws RankEnded where another rank has ended.
  void check() const;

  // To be called before each step, the first too, with the number of steps done since the start,
  // and the signal that asks this rank to stop (0: none). True, after the same step on all ranks:
  // stop now. Throws as check() does.
  bool stop_now(std::int64_t done, int signal);
  // Of the rank that asked first, on all ranks; 0: nobody.
  int signal() const;

  // Tells the others why this rank ends. False where nobody could be told.
  bool fail(const std::string& text, int code);
  // The orderly end, once nobody needs anybody any more.
  void leave();

 private:
  using Clock = std::chrono::steady_clock;

  void run();
  void hear(RankPeer& peer, std::unique_lock<std::mutex>& lock);
  void lost(RankPeer& peer);
  void end_with(RankEnd end);  // with the lock
  void tell_all(std::uint8_t kind, const std::string& text);
  void want_stop(int signal);
  void ask_all();
  void answered(int rank, std::int64_t begun);
  void look_at_clock();
  void wake();
  RankPeer* peer_of(int rank);

  const int rank_;
  const std::string name_;
  Options options_;
  RankCircle circle_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<RankEnd> end_;
  Clock::time_point ended_at_;
  bool leaving_ = false;
  // Stopping.
  std::int64_t begun_ = 0;
  int signal_ = 0;
  bool asked_ = false;  // by us, or all were asked
  bool held_ = false;
  Clock::time_point asked_at_;
  std::vector<std::int64_t> begun_by_;  // rank 0's: -1 no answer yet
  std::optional<std::int64_t> stop_after_;
  int wake_[2] = {-1, -1};
  std::thread thread_;
};

}  // namespace memengine
