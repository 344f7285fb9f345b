// A TCP connection between two ranks that carries short messages: a kind, a length, bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace memengine {

struct Message {
  std::uint8_t kind = 0;
  std::string text;
};

// Moves only. Not for use by two threads at once, but for one that sends and one that receives.
class Connection {
 public:
  Connection() = default;
  // Takes a connected socket. Its loss is noticed within ten seconds, a host's that went dark too.
  explicit Connection(int socket);
  ~Connection();
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) noexcept;

  // Tries once: no connection where nobody listens or answers within `seconds`.
  static Connection to(const std::string& address, int port, double seconds);

  bool is_open() const { return socket_ >= 0; }
  int socket() const { return socket_; }
  // The other's address, for people.
  std::string peer() const;

  // False where the other is gone. Never waits longer than five seconds.
  bool send(std::uint8_t kind, std::string_view text);
  // Waits at most `seconds` for a whole message; none: the other is gone, or sent what is none.
  std::optional<Message> receive(double seconds);
  void close();

 private:
  int socket_ = -1;
};

// A socket that listens at the first free port of `ports` from `first_port` on (0: any one port),
// on all of the host's addresses or on the loopback alone; the port is told. Input error: none.
struct Listener {
  int socket = -1;
  int port = 0;
};
Listener listen_at(int first_port, int ports, bool loopback_only);

}  // namespace memengine
