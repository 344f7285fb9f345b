// See meeting.h. Messages:
//   rank 0 -> newcomer   greeting   "memengine ranks 1 <first half of the token>"
//   newcomer -> rank 0   hello      "<second half> <rank> <size> <version> <name>"
//   rank 0 -> newcomer   refusal    why, and nothing more
//   rank 0 -> everybody  welcome    its own name, a line feed, the offer
#include "kernels/runtime/ranks/meeting.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>

#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

using Clock = std::chrono::steady_clock;

enum Kind : std::uint8_t { greeting = 1, hello, refusal, welcome };

constexpr std::string_view greeting_start = "memengine ranks 1 ";
constexpr double handshake_seconds = 5;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Tells for whom we wait, ever more rarely.
class Patience {
 public:
  Patience(double seconds, const std::function<void(const std::string&)>& say)
      : seconds_(seconds), say_(say) {}
  double spent() const { return seconds_since(begin_); }
  double left() const { return seconds_ - spent(); }
  void tell(const std::string& whom) {
    if (spent() < next_) return;
    next_ = 2 * spent();
    if (say_) say_(fmt::format("{} (since {:.0f} s)", whom, spent()));
  }

 private:
  double seconds_;
  const std::function<void(const std::string&)>& say_;
  Clock::time_point begin_ = Clock::now();
  double next_ = 5;
};

std::string ports_text(const RankStart& place) {
  if (place.ports == 1) return fmt::format("port {}", place.first_port);
  return fmt::format("ports {} to {}", place.first_port, place.first_port + place.ports - 1);
}

// --- Rank 0 --------------------------------------------------------------------------------------

class Host {
 public:
  Host(const RankStart& place, double seconds, const std::function<void(const std::string&)>& say)
      : place_(place), patience_(seconds, say), come_(static_cast<std::size_t>(place.size)) {
    listener_ = {place.listening, place.first_port};
    if (listener_.socket < 0) {
      listener_ = listen_at(place.first_port, place.ports, place.one_host());
    }
  }
  ~Host() { ::close(listener_.socket); }

  RankCircle gather(std::string_view offer) {
    while (missing() > 0) {
      if (patience_.left() <= 0) {
        fail_internal(
            "waited {:.0f} s for {} of {} in vain: are they started, and can they reach this host "
            "at port {}?",
            patience_.spent(), missing_text(), place_.size, listener_.port);
      }
      patience_.tell(fmt::format("waiting for {} of {} at port {}", missing_text(), place_.size,
                                 listener_.port));
      look();
    }
    RankCircle circle;
    circle.offer = offer;
    const std::string text = own_rank_name(0) + "\n" + std::string(offer);
    for (RankPeer& peer : come_) {
      if (!peer.connection.is_open()) continue;
      peer.connection.send(welcome, text);  // one that is gone by now is noticed by the watch
      circle.peers.push_back(std::move(peer));
    }
    return circle;
  }

 private:
  struct Newcomer {
    Connection connection;
    Clock::time_point since = Clock::now();
  };

  int missing() const {
    return static_cast<int>(std::count_if(come_.begin() + 1, come_.end(), [](const RankPeer& peer) {
      return !peer.connection.is_open();
    }));
  }
  std::string missing_text() const {
    std::vector<int> ranks;
    for (int rank = 1; rank < place_.size; ++rank) {
      if (!come_[static_cast<std::size_t>(rank)].connection.is_open()) ranks.push_back(rank);
    }
    std::string text = ranks.size() == 1 ? "rank" : "ranks";
    for (std::size_t i = 0; i < std::min<std::size_t>(ranks.size(), 8); ++i) {
      text += fmt::format("{}{}", i == 0 ? " " : ", ", ranks[i]);
    }
    if (ranks.size() > 8) text += fmt::format(" and {} more", ranks.size() - 8);
    return text;
  }

  void look() {
    std::vector<pollfd> entries = {{listener_.socket, POLLIN, 0}};
    for (const Newcomer& newcomer : newcomers_) {
      entries.push_back({newcomer.connection.socket(), POLLIN, 0});
    }
    for (const RankPeer& peer : come_) entries.push_back({peer.connection.socket(), POLLIN, 0});
    ::poll(entries.data(), entries.size(), 200);
    for (std::size_t i = 0; i < come_.size(); ++i) {
      // Nothing is to come from them now: it is the end of one, and it may come again.
      if (entries[1 + newcomers_.size() + i].revents != 0) come_[i].connection.close();
    }
    for (std::size_t i = newcomers_.size(); i-- > 0;) {
      const bool speaks = entries[1 + i].revents != 0;
      if (speaks) admit(newcomers_[i].connection);
      if (speaks || seconds_since(newcomers_[i].since) > handshake_seconds) {
        newcomers_.erase(newcomers_.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    if (entries[0].revents != 0) {
      Connection connection(::accept4(listener_.socket, nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.is_open() && newcomers_.size() < 256 &&
          connection.send(greeting, std::string(greeting_start) + place_.token.substr(0, 16))) {
        newcomers_.push_back({std::move(connection)});
      }
    }
  }

  // Whoever says nothing or something else is a stranger, and is let go without a word.
  void admit(Connection& connection) {
    const std::optional<Message> message = connection.receive(handshake_seconds);
    if (!message || message->kind != hello) return;
    std::istringstream words(message->text);
    std::string half, version, name;
    int rank = -1, size = -1;
    words >> half >> rank >> size >> version;
    if (!words || half != place_.token.substr(16)) return;
    std::getline(words >> std::ws, name);
    const auto refuse = [&](const std::string& why) { connection.send(refusal, why); };
    if (version != MEMENGINE_VERSION) {
      return refuse(fmt::format("rank 0 is memengine {}, rank {} is {}: start the same program",
                                MEMENGINE_VERSION, rank, printable(version)));
    }
    if (size != place_.size) {
      return refuse(fmt::format("rank 0 was started as one of {} ranks, rank {} as one of {}",
                                place_.size, rank, size));
    }
    if (rank < 1 || rank >= size) {
      return refuse(fmt::format("there is no rank {} of {} beside rank 0", rank, size));
    }
    RankPeer& peer = come_[static_cast<std::size_t>(rank)];
    if (peer.connection.is_open()) {
      return refuse(fmt::format("two processes were started as rank {}: {} is here already", rank,
                                peer.name));
    }
    peer.rank = rank;
    peer.name = printable(name);
    peer.connection = std::move(connection);
  }

  const RankStart& place_;
  Patience patience_;
  Listener listener_;
  std::vector<Newcomer> newcomers_;
  std::vector<RankPeer> come_;  // by rank
};

// --- The others ----------------------------------------------------------------------------------

// The connection, once rank 0 has greeted us as the run's and we have answered.
Connection introduce(const RankStart& place, int port, double seconds) {
  Connection connection = Connection::to(place.address, port, std::min(seconds, 3.0));
  if (!connection.is_open()) return {};
  const auto greeted = connection.receive(std::min(seconds, handshake_seconds));
  if (!greeted || greeted->kind != greeting ||
      greeted->text != std::string(greeting_start) + place.token.substr(0, 16)) {
    return {};
  }
  if (!connection.send(hello,
                       fmt::format("{} {} {} {} {}", place.token.substr(16), place.rank, place.size,
                                   MEMENGINE_VERSION, own_rank_name(place.rank)))) {
    return {};
  }
  return connection;
}

RankCircle look_for_host(const RankStart& place, double seconds,
                         const std::function<void(const std::string&)>& say) {
  Patience patience(seconds, say);
  const std::string whom =
      fmt::format("rank 0 at {}, {}", printable(place.address), ports_text(place));
  double pause = 0.02;
  for (;;) {
    for (int port = place.first_port; port < place.first_port + place.ports; ++port) {
      Connection connection = introduce(place, port, std::max(patience.left(), 0.1));
      while (connection.is_open() && patience.left() > 0) {
        pollfd entry{connection.socket(), POLLIN, 0};
        const bool speaks = ::poll(&entry, 1, 200) > 0;
        patience.tell(
            fmt::format("rank {} has found {}, which waits for others", place.rank, whom));
        if (!speaks) continue;
        const auto message = connection.receive(handshake_seconds);
        if (message && message->kind == refusal) fail_input("{}", message->text);
        if (!message || message->kind != welcome) break;  // it is gone: it may come again
        const std::size_t line = message->text.find('\n');
        if (line == std::string::npos) break;
        RankCircle circle;
        circle.offer = message->text.substr(line + 1);
        circle.peers.push_back(
            {0, printable(message->text.substr(0, line)), std::move(connection)});
        return circle;
      }
    }
    if (patience.left() <= 0) {
      fail_internal(
          "rank {} has looked for {} for {:.0f} s in vain: is it started, and can this host reach "
          "it?",
          place.rank, whom, patience.spent());
    }
    patience.tell(fmt::format("rank {} looks for {}", place.rank, whom));
    std::this_thread::sleep_for(std::chrono::duration<double>(pause));
    pause = std::min(1.5 * pause, 2.0);
  }
}

}  // namespace

std::string own_rank_name(int rank) {
  char host[256] = "unknown";
  ::gethostname(host, sizeof(host) - 1);
  return fmt::format("rank {} (process {} on {})", rank, ::getpid(), printable(host));
}

RankCircle meet(const RankStart& place, std::string_view offer, double seconds,
                const std::function<void(const std::string&)>& say) {
  if (place.rank == 0) return Host(place, seconds, say).gather(offer);
  return look_for_host(place, seconds, say);
}

}  // namespace memengine
