// See rank_watch.h. Messages, between rank 0 and each of the others:
//   ended       "<rank> <code> <told> <line>"  another rank is gone
//   failed      "<code> <line>"                the sender ends
//   leaving                                    the sender goes in order
//   stop_wanted "<signal>"                     to rank 0
//   how_far     "<signal>"                     to all: hold, and say how many steps you have begun
//   so_far      "<steps>"
//   stop_after  "<steps>"
#include "kernels/runtime/ranks/rank_watch.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

namespace memengine {
namespace {

enum WatchMessage : std::uint8_t {
  ended = 16,
  failed,
  leaving,
  stop_wanted,
  how_far,
  so_far,
  stop_after
};

std::string rest_of(std::istringstream& words) {
  std::string rest;
  std::getline(words >> std::ws, rest);
  return rest;
}

}  // namespace

RankWatch::RankWatch(int rank, RankCircle circle, Options options)
    : rank_(rank),
      name_(own_rank_name(rank)),
      options_(std::move(options)),
      circle_(std::move(circle)) {
  if (::pipe2(wake_, O_CLOEXEC | O_NONBLOCK) != 0) fail_internal("no pipe for the ranks' watch");
  begun_by_.assign(circle_.peers.size() + 1, -1);
  thread_ = std::thread([this] { run(); });
}

RankWatch::~RankWatch() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
  }
  changed_.notify_all();
  wake();
  thread_.join();
  ::close(wake_[0]);
  ::close(wake_[1]);
}

void RankWatch::wake() {
  [[maybe_unused]] const ssize_t written = ::write(wake_[1], "w", 1);
}

std::optional<RankEnd> RankWatch::end() const {
  const std::lock_guard lock(mutex_);
  return end_;
}

void RankWatch::check() const {
  const std::lock_guard lock(mutex_);
  if (end_) throw RankEnded(*end_);
}

int RankWatch::signal() const {
  const std::lock_guard lock(mutex_);
  return signal_;
}

RankPeer* RankWatch::peer_of(int rank) {
  for (RankPeer& peer : circle_.peers) {
    if (peer.rank == rank) return &peer;
  }
  return nullptr;
}

void RankWatch::tell_all(std::uint8_t kind, const std::string& text) {
  for (RankPeer& peer : circle_.peers) peer.connection.send(kind, text);
}

// --- Ends ----------------------------------------------------------------------------------------

void RankWatch::end_with(RankEnd end) {
  if (end_ || leaving_) return;
  if (rank_ == 0) {
    const std::string text =
        fmt::format("{} {} {} {}", end.rank, end.code, end.told ? 1 : 0, end.text);
    for (RankPeer& peer : circle_.peers) {
      if (peer.rank != end.rank) peer.connection.send(ended, text);
    }
  }
  end_ = std::move(end);
  ended_at_ = Clock::now();
  changed_.notify_all();
}

void RankWatch::lost(RankPeer& peer) {
  peer.connection.close();
  end_with(
      {peer.rank,
       fmt::format("{} has died; the same command goes on from the newest checkpoint", peer.name),
       1, false});
}

bool RankWatch::fail(const std::string& text, int code) {
  const std::lock_guard lock(mutex_);
  if (leaving_) return false;
  leaving_ = true;
  bool told = false;
  for (RankPeer& peer : circle_.peers) {
    const std::string line = fmt::format("{}: {}", name_, text);
    told = (rank_ == 0 ? peer.connection.send(ended, fmt::format("0 {} 1 {}", code, line))
                       : peer.connection.send(failed, fmt::format("{} {}", code, line))) ||
           told;
  }
  return told;
}

void RankWatch::leave() {
  const std::lock_guard lock(mutex_);
  if (leaving_ || end_) return;
  leaving_ = true;
  tell_all(leaving, "");
}

// --- Stopping after the same step ----------------------------------------------------------------

void RankWatch::want_stop(int signal) {
  if (asked_ || end_) return;
  asked_ = true;
  asked_at_ = Clock::now();
  signal_ = signal;
  if (rank_ == 0) {
    ask_all();
  } else {
    tell_all(stop_wanted, std::to_string(signal));
  }
}

bool RankWatch::stop_now(std::int64_t done, int signal) {
  std::unique_lock lock(mutex_);
  if (signal != 0) want_stop(signal);
  changed_.wait(lock, [&] { return !held_ || stop_after_ || end_; });
  if (end_) throw RankEnded(*end_);
  if (stop_after_) return done >= *stop_after_;
  begun_ = done + 1;
  return false;
}

void RankWatch::ask_all() {
  held_ = true;
  tell_all(how_far, std::to_string(signal_));
  answered(0, begun_);
}

void RankWatch::answered(int rank, std::int64_t begun) {
  begun_by_[static_cast<std::size_t>(rank)] = begun;
  if (*std::min_element(begun_by_.begin(), begun_by_.end()) < 0) return;
  stop_after_ = *std::max_element(begun_by_.begin(), begun_by_.end());
  tell_all(stop_after, std::to_string(*stop_after_));
  changed_.notify_all();
}

// --- The thread ----------------------------------------------------------------------------------

void RankWatch::hear(RankPeer& peer, std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  const std::optional<Message> message = peer.connection.receive(5);
  lock.lock();
  if (!message) return lost(peer);
  std::istringstream words(message->text);
  std::int64_t number = 0;
  switch (message->kind) {
    case ended: {
      RankEnd end;
      int told = 0;
      words >> end.rank >> end.code >> told;
      end.told = told != 0;
      end.text = rest_of(words);
      return end_with(std::move(end));
    }
    case failed: {
      RankEnd end{peer.rank, "", 1, true};
      words >> end.code;
      end.text = rest_of(words);
      return end_with(std::move(end));
    }
    case leaving:
      peer.connection.close();
      return;
    case stop_wanted:
      words >> number;
      if (asked_) return;
      asked_ = true;
      asked_at_ = Clock::now();
      if (signal_ == 0) signal_ = static_cast<int>(number);
      return ask_all();
    case how_far:
      words >> number;
      signal_ = static_cast<int>(number);
      held_ = true;
      if (!asked_) asked_at_ = Clock::now();
      asked_ = true;
      peer.connection.send(so_far, std::to_string(begun_));
      return;
    case so_far:
      words >> number;
      return answered(peer.rank, number);
    case stop_after:
      words >> number;
      stop_after_ = number;
      changed_.notify_all();
      return;
    default:
      return lost(peer);  // it has lost its senses
  }
}

void RankWatch::look_at_clock() {
  if (!asked_ || stop_after_ || end_) return;
  // Rank 0 knows who is missing, and is the first to say it.
  const double patience = options_.answer_seconds + (rank_ == 0 ? 0 : 2);
  if (Clock::now() - asked_at_ < std::chrono::duration<double>(patience)) return;
  for (const RankPeer& peer : circle_.peers) {
    if (rank_ == 0 && begun_by_[static_cast<std::size_t>(peer.rank)] >= 0) continue;
    return end_with({peer.rank,
                     fmt::format("{} has not answered a request to stop for {:.0f} s; the same "
                                 "command goes on from the newest checkpoint",
                                 peer.name, options_.answer_seconds),
                     1, false});
  }
}

void RankWatch::run() {
  std::unique_lock lock(mutex_);
  bool called = false;
  while (!leaving_) {
    if (end_ && !called) {
      called = true;
      lock.unlock();
      if (options_.on_end) options_.on_end();
      lock.lock();
    }
    if (end_) {
      // The rest is the main thread's, for so long.
      const auto until = ended_at_ + std::chrono::milliseconds(
                                         static_cast<std::int64_t>(1000 * options_.grace_seconds));
      changed_.wait_until(lock, until, [&] { return leaving_; });
      if (leaving_) return;
      const RankEnd end = *end_;
      lock.unlock();
      if (options_.last_resort) options_.last_resort(end);
      lock.lock();
      changed_.wait(lock, [&] { return leaving_; });
      return;
    }
    std::vector<pollfd> entries = {{wake_[0], POLLIN, 0}};
    for (const RankPeer& peer : circle_.peers) {
      entries.push_back({peer.connection.socket(), POLLIN, 0});
    }
    lock.unlock();
    ::poll(entries.data(), entries.size(), 200);
    char drained[64];
    while (::read(wake_[0], drained, sizeof(drained)) > 0) {
    }
    lock.lock();
    for (std::size_t i = 0; i < circle_.peers.size() && !end_ && !leaving_; ++i) {
      if (entries[1 + i].revents != 0 && circle_.peers[i].connection.is_open()) {
        hear(circle_.peers[i], lock);
      }
    }
    const int signal = options_.stop_signal && !leaving_ ? options_.stop_signal() : 0;
    if (signal != 0) want_stop(signal);
    look_at_clock();
  }
}

}  // namespace memengine
