// See connection.h: POSIX sockets.
#include "kernels/runtime/ranks/connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t head_bytes = 5;
constexpr std::uint32_t longest_text = 64 << 10;  // a stranger cannot make us take more

void set(int socket, int level, int option, int value) {
  ::setsockopt(socket, level, option, &value, sizeof(value));
}

int milliseconds_until(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
  return left.count() < 0 ? 0 : static_cast<int>(std::min<std::int64_t>(left.count(), 1 << 30)) + 1;
}

Clock::time_point after(double seconds) {
  return Clock::now() + std::chrono::microseconds(static_cast<std::int64_t>(seconds * 1e6));
}

bool wait_for(int socket, short what, Clock::time_point end) {
  for (;;) {
    const int left = milliseconds_until(end);
    if (left == 0) return false;
    pollfd entry{socket, what, 0};
    const int ready = ::poll(&entry, 1, left);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

// All `size` bytes before `end`, or false.
bool receive_all(int socket, char* to, std::size_t size, Clock::time_point end) {
  while (size > 0) {
    const ssize_t got = ::recv(socket, to, size, MSG_DONTWAIT);
    if (got > 0) {
      to += got;
      size -= static_cast<std::size_t>(got);
    } else if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
      return false;
    } else if (!wait_for(socket, POLLIN, end)) {
      return false;
    }
  }
  return true;
}

struct Addresses {
  addrinfo* first = nullptr;
  Addresses(const std::string& host, int port) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &first) != 0) {
      first = nullptr;
    }
  }
  ~Addresses() {
    if (first != nullptr) ::freeaddrinfo(first);
  }
};

}  // namespace

Connection::Connection(int socket) : socket_(socket) {
  set(socket_, IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket_, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket_, IPPROTO_TCP, TCP_KEEPIDLE, 4);
  set(socket_, IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(socket_, IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(socket_, IPPROTO_TCP, TCP_USER_TIMEOUT, 10000);
}

Connection::~Connection() {
  close();
}
Connection::Connection(Connection&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
Connection& Connection::operator=(Connection&& other) noexcept {
  std::swap(socket_, other.socket_);
  return *this;
}

void Connection::close() {
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
}

Connection Connection::to(const std::string& address, int port, double seconds) {
  const Clock::time_point end = after(seconds);
  const Addresses addresses(address, port);
  for (const addrinfo* at = addresses.first; at != nullptr; at = at->ai_next) {
    const int socket =
        ::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
    if (socket < 0) continue;
    int error = ::connect(socket, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS && wait_for(socket, POLLOUT, end)) {
      socklen_t size = sizeof(error);
      ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    // A system may connect a socket to itself where it asks for a free port of its own.
    sockaddr_storage here{}, there{};
    socklen_t here_size = sizeof(here), there_size = sizeof(there);
    const bool itself =
        ::getsockname(socket, reinterpret_cast<sockaddr*>(&here), &here_size) == 0 &&
        ::getpeername(socket, reinterpret_cast<sockaddr*>(&there), &there_size) == 0 &&
        here_size == there_size && std::memcmp(&here, &there, here_size) == 0;
    if (error == 0 && !itself) return Connection(socket);
    ::close(socket);
  }
  return {};
}

std::string Connection::peer() const {
  sockaddr_storage there{};
  socklen_t size = sizeof(there);
  std::array<char, 128> host{}, port{};
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&there), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&there), size, host.data(), host.size(),
                    port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "somebody";
  }
  return fmt::format("{}:{}", host.data(), port.data());
}

bool Connection::send(std::uint8_t kind, std::string_view text) {
  if (socket_ < 0) return false;
  if (text.size() > longest_text) text = text.substr(0, longest_text);
  std::string bytes(head_bytes, '\0');
  bytes[0] = static_cast<char>(kind);
  for (int i = 0; i < 4; ++i) bytes[1 + i] = static_cast<char>(text.size() >> (8 * i) & 0xff);
  bytes += text;
  const Clock::time_point end = after(5);
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t some =
        ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (some >= 0) {
      sent += static_cast<std::size_t>(some);
    } else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
      return false;
    } else if (!wait_for(socket_, POLLOUT, end)) {
      return false;
    }
  }
  return true;
}

std::optional<Message> Connection::receive(double seconds) {
  if (socket_ < 0) return std::nullopt;
  const Clock::time_point end = after(seconds);
  std::array<char, head_bytes> head{};
  if (!receive_all(socket_, head.data(), head.size(), end)) return std::nullopt;
  std::uint32_t size = 0;
  for (int i = 0; i < 4; ++i) {
    size |= static_cast<std::uint32_t>(static_cast<unsigned char>(head[1 + i])) << (8 * i);
  }
  if (size > longest_text) return std::nullopt;
  Message message{static_cast<std::uint8_t>(head[0]), std::string(size, '\0')};
  if (!receive_all(socket_, message.text.data(), size, end)) return std::nullopt;
  return message;
}

Listener listen_at(int first_port, int ports, bool loopback_only) {
  int error = 0;
  for (int port = first_port; port < first_port + ports; ++port) {
    // IPv6 sockets take IPv4 too; where there is no IPv6, IPv4 alone. The loopback is IPv4's.
    for (const int family : {AF_INET6, AF_INET}) {
      if (loopback_only && family == AF_INET6) continue;
      const int socket = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      if (socket < 0) continue;
      set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
      if (family == AF_INET6) set(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
      sockaddr_storage address{};
      socklen_t size = 0;
      if (family == AF_INET6) {
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(static_cast<std::uint16_t>(port));
        v6.sin6_addr = in6addr_any;
        std::memcpy(&address, &v6, size = sizeof(v6));
      } else {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(static_cast<std::uint16_t>(port));
        v4.sin_addr.s_addr = htonl(loopback_only ? INADDR_LOOPBACK : INADDR_ANY);
        std::memcpy(&address, &v4, size = sizeof(v4));
      }
      if (::bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
          ::listen(socket, 1024) == 0) {
        size = sizeof(address);
        ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
        const in_port_t bound = address.ss_family == AF_INET6
                                    ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                    : reinterpret_cast<sockaddr_in*>(&address)->sin_port;
        return {socket, ntohs(bound)};
      }
      error = errno;
      ::close(socket);
      if (error != EAFNOSUPPORT && error != EADDRNOTAVAIL) break;
    }
  }
  fail_input(
      "rank 0 finds no free port for the ranks to meet at (tried {} from {} on): {}; set "
      "MASTER_PORT to another in the environment of all ranks",
      ports, first_port, std::strerror(error));
}

}  // namespace memengine
