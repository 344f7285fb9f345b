// Ranks that meet and watch over one another, as threads of this process with sockets of their own.
#include "kernels/runtime/ranks/meeting.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>

#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/rank_watch.h"

namespace memengine {
namespace {

using namespace std::chrono_literals;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

RankStart place_of(int rank, int size, const Listener& listener, const std::string& token) {
  RankStart place;
  place.starter = RankStart::Starter::memengine;
  place.rank = place.local_rank = rank;
  place.size = place.local_size = size;
  place.address = "127.0.0.1";
  place.first_port = listener.port;
  place.ports = 1;
  if (rank == 0) place.listening = listener.socket;
  place.token = token;
  return place;
}

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

// A group of ranks whose watches run; each is ended by giving up its watch.
struct Group {
  std::vector<std::atomic<int>> ends, last_resorts;
  std::vector<std::unique_ptr<RankWatch>> watches;  // go first: they count there

  explicit Group(int size, double answer_seconds = 15, double grace_seconds = 8)
      : ends(static_cast<std::size_t>(size)),
        last_resorts(static_cast<std::size_t>(size)),
        watches(static_cast<std::size_t>(size)) {
    const Listener listener = listen_at(0, 1, true);
    const std::string token = random_token();
    std::vector<std::thread> threads;
    for (int rank = size - 1; rank >= 0; --rank) {
      threads.emplace_back([&, rank] {
        RankCircle circle = meet(place_of(rank, size, listener, token), "id of NCCL", 20, {});
        EXPECT_EQ(circle.offer, "id of NCCL");
        EXPECT_EQ(circle.peers.size(), rank == 0 ? size - 1U : 1U);
        RankWatch::Options options;
        options.on_end = [this, rank] { ++ends[rank]; };
        options.last_resort = [this, rank](const RankEnd&) { ++last_resorts[rank]; };
        options.answer_seconds = answer_seconds;
        options.grace_seconds = grace_seconds;
        watches[rank] = std::make_unique<RankWatch>(rank, std::move(circle), options);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  // Once it is there, within five seconds.
  RankEnd end_at(int rank) {
    for (int i = 0; i < 1000; ++i) {
      if (const auto end = watches[rank]->end()) return *end;
      std::this_thread::sleep_for(5ms);
    }
    ADD_FAILURE() << "rank " << rank << " has noticed nothing";
    return {};
  }
};

TEST(Meeting, StrangersAndOtherRunsArePassedOver) {
  const Listener listener = listen_at(0, 1, true);
  const std::string token = random_token();
  std::string other = token;
  other.back() = other.back() == '0' ? '1' : '0';
  RankCircle circles[2];
  // A stranger who is silent, one who talks, one with half a token, one who lies about its rank.
  std::vector<Connection> strangers;
  for (int i = 0; i < 4; ++i) {
    strangers.push_back(Connection::to("127.0.0.1", listener.port, 5));
    ASSERT_TRUE(strangers.back().is_open());
  }
  ASSERT_EQ(::send(strangers[1].socket(), "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
  ASSERT_TRUE(strangers[2].send(2, other.substr(16) + " 1 2 0.1.0 a stranger"));
  ASSERT_TRUE(strangers[3].send(2, ""));
  std::thread host([&] { circles[0] = meet(place_of(0, 2, listener, token), "offer", 20, {}); });
  const std::string refused = error_of([&] { meet(place_of(1, 2, listener, other), "", 0.5, {}); });
  expect_part(refused, "rank 1 has looked for rank 0 at 127.0.0.1");
  circles[1] = meet(place_of(1, 2, listener, token), "", 20, {});
  host.join();
  EXPECT_EQ(circles[1].offer, "offer");
  EXPECT_EQ(circles[0].peers.front().name, own_rank_name(1));
  EXPECT_EQ(circles[1].peers.front().name, own_rank_name(0));
}

TEST(Meeting, AStrangerAtAPortIsPassedOverForTheNextPort) {
  // Something else listens at the first ports and greets in its own way, or never.
  Listener taken;
  RankStart places[2];
  for (int port = 23000;; port += 40) {
    try {
      taken = listen_at(port, 1, true);
    } catch (const Error&) {
      continue;
    }
    for (int rank = 0; rank < 2; ++rank) {
      places[rank] = place_of(rank, 2, {-1, port}, "00112233445566778899aabbccddeeff");
      places[rank].ports = 32;
    }
    break;
  }
  std::atomic<bool> done = false;
  std::thread stranger([&] {
    while (!done) {
      Connection visitor(::accept(taken.socket, nullptr, nullptr));
      if (visitor.is_open()) visitor.send(1, "220 mail ready");
      std::this_thread::sleep_for(5ms);
    }
  });
  std::thread host([&] { meet(places[0], "here", 20, {}); });
  EXPECT_EQ(meet(places[1], "", 20, {}).offer, "here");
  host.join();
  done = true;
  stranger.join();
  ::close(taken.socket);
}

TEST(Meeting, SaysForWhomItWaitsAndGivesUp) {
  const Listener listener = listen_at(0, 1, true);
  const std::string token = random_token();
  std::string host_error, said;
  std::thread host([&] {
    host_error = error_of([&] {
      meet(place_of(0, 4, listener, token), "", 7, [&](const std::string& line) { said = line; });
    });
  });
  expect_part(error_of([&] { meet(place_of(2, 4, listener, token), "", 6.5, {}); }), "rank 2");
  host.join();
  expect_part(said, "waiting for ranks 1, 3 of 4 at port");
  expect_part(host_error, "in vain");
}

TEST(Meeting, TwoOfOneRankAndOtherSizesAreRefusedWithAReason) {
  const Listener listener = listen_at(0, 1, true);
  const std::string token = random_token();
  std::thread host([&] { meet(place_of(0, 3, listener, token), "", 20, {}); });
  std::thread first([&] { meet(place_of(1, 3, listener, token), "", 20, {}); });
  std::this_thread::sleep_for(300ms);
  expect_part(error_of([&] { meet(place_of(1, 3, listener, token), "", 20, {}); }),
              "two processes were started as rank 1");
  expect_part(error_of([&] { meet(place_of(2, 4, listener, token), "", 20, {}); }),
              "rank 0 was started as one of 3 ranks, rank 2 as one of 4");
  meet(place_of(2, 3, listener, token), "", 20, {});
  host.join();
  first.join();
}

TEST(RankWatch, ADeathIsToldToAllWithItsName) {
  for (const int dead : {0, 1, 2}) {
    Group group(3);
    const std::string name = own_rank_name(dead);
    const auto begin = std::chrono::steady_clock::now();
    group.watches[dead].reset();  // without leave(): its sockets close, as a killed process's do
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == dead) continue;
      const RankEnd end = group.end_at(rank);
      EXPECT_EQ(end.rank, dead);
      EXPECT_FALSE(end.told);
      expect_part(end.text, name + " has died");
      EXPECT_THROW(group.watches[rank]->check(), RankEnded);
      EXPECT_THROW(group.watches[rank]->stop_now(1, 0), RankEnded);
    }
    EXPECT_LT(seconds_since(begin), 5);
    std::this_thread::sleep_for(50ms);
    for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(group.ends[rank], rank == dead ? 0 : 1);
  }
}

TEST(RankWatch, AFailureComesWithItsReasonAndCode) {
  for (const int failing : {0, 2}) {
    Group group(3);
    EXPECT_TRUE(group.watches[failing]->fail("the disk is full", 2));
    group.watches[failing].reset();
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == failing) continue;
      const RankEnd end = group.end_at(rank);
      EXPECT_EQ(end.text, own_rank_name(failing) + ": the disk is full");
      EXPECT_EQ(end.code, 2);
      EXPECT_TRUE(end.told);
    }
  }
}

TEST(RankWatch, AnOrderlyEndIsNoDeath) {
  Group group(3);
  for (const int rank : {1, 0, 2}) {
    group.watches[rank]->leave();
    group.watches[rank].reset();
    std::this_thread::sleep_for(30ms);
  }
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(group.ends[rank], 0);
}

TEST(RankWatch, TheLastResortComesWhenTheProcessStays) {
  Group group(2, 15, 0.2);
  group.watches[1].reset();
  group.end_at(0);
  for (int i = 0; i < 200 && group.last_resorts[0] == 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(group.last_resorts[0], 1);
}

// Ranks in steps that need one another, as collectives do: nobody is two steps ahead of anybody.
TEST(RankWatch, AllStopAfterTheSameStep) {
  for (int round = 0; round < 12; ++round) {
    Group group(3);
    const int asking = round % 3;
    std::atomic<std::int64_t> done[3] = {};
    std::int64_t stopped[3] = {};
    const auto work = [&](int rank) {
      for (std::int64_t step = 0;; ++step) {
        const bool asks = rank == asking && step == 3 + round;
        if (group.watches[rank]->stop_now(step, asks ? 15 : 0)) {
          stopped[rank] = step;
          return;
        }
        for (const auto& other : done) {
          while (other < step) std::this_thread::sleep_for(100us);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(100 * ((rank + round) % 3)));
        done[rank] = step + 1;
      }
    };
    std::vector<std::thread> threads;
    for (int rank = 0; rank < 3; ++rank) threads.emplace_back(work, rank);
    for (std::thread& thread : threads) thread.join();
    EXPECT_GE(stopped[asking], 3 + round);
    for (int rank = 0; rank < 3; ++rank) {
      EXPECT_EQ(stopped[rank], stopped[0]);
      EXPECT_EQ(done[rank], stopped[0]);
      EXPECT_EQ(group.watches[rank]->signal(), 15);
    }
  }
}

TEST(RankWatch, AnUnansweredRequestToStopEnds) {
  // Rank 1 is connected and silent, as a process that is held is.
  const Listener listener = listen_at(0, 1, true);
  const std::string token = random_token();
  RankCircle held, circle;
  std::thread other([&] { held = meet(place_of(1, 2, listener, token), "", 20, {}); });
  circle = meet(place_of(0, 2, listener, token), "", 20, {});
  other.join();
  RankWatch::Options options;
  options.answer_seconds = 1;
  options.stop_signal = [] { return 15; };  // while we wait in the middle of a step
  RankWatch watch(0, std::move(circle), options);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 400 && !watch.end(); ++i) std::this_thread::sleep_for(10ms);
  expect_part(error_of([&] { watch.stop_now(5, 15); }),
              own_rank_name(1) + " has not answered a request to stop for 1 s");
  EXPECT_LT(seconds_since(begin), 3);
}

}  // namespace
}  // namespace memengine
