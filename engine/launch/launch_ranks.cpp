// See launch_ranks.h.
#include "engine/launch/launch_ranks.h"

#if MEMENGINE_HAS_CUDA
#include <cuda_runtime_api.h>
#endif
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "io/text/ascii.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/ranks/connection.h"
#include "kernels/runtime/ranks/rank_start.h"

namespace memengine {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

struct Child {
  int rank = 0;
  pid_t process = -1;  // -1: it has ended
  int status = 0;
  bool by_us = false;  // killed
};

// The environment with some variables set anew.
class ChildEnvironment {
 public:
  explicit ChildEnvironment(const std::vector<std::string>& settings) : settings_(settings) {
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string_view text = *entry;
      const std::string_view name = text.substr(0, text.find('=') + 1);
      const bool set_anew = std::any_of(settings.begin(), settings.end(), [&](const auto& setting) {
        return std::string_view(setting).starts_with(name);
      });
      if (!set_anew && name != "MEMENGINE_LISTENING=") entries_.push_back(*entry);
    }
    for (std::string& setting : settings_) entries_.push_back(setting.data());
    entries_.push_back(nullptr);
  }
  char** data() { return entries_.data(); }

 private:
  std::vector<std::string> settings_;
  std::vector<char*> entries_;
};

Child start(int rank, int ranks, const std::string& program,
            const std::vector<std::string>& arguments, const Listener& listener,
            const std::string& token) {
  std::vector<std::string> settings = {
      fmt::format("MEMENGINE_RANK={}", rank), fmt::format("MEMENGINE_RANKS={}", ranks),
      fmt::format("MEMENGINE_MEETING={}", listener.port), "MEMENGINE_TOKEN=" + token};
  if (rank == 0) settings.push_back(fmt::format("MEMENGINE_LISTENING={}", listener.socket));
  if (std::getenv("OMP_NUM_THREADS") == nullptr) {
    const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
    settings.push_back(
        fmt::format("OMP_NUM_THREADS={}", std::max(1U, cores / static_cast<unsigned>(ranks))));
  }
  // All that allocates comes before the fork.
  ChildEnvironment environment(settings);
  std::vector<char*> words = {const_cast<char*>(program.c_str())};
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t process = ::fork();
  if (process < 0) fail_internal("cannot start rank {}: {}", rank, std::strerror(errno));
  if (process > 0) return {rank, process};
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(1);
  ::setpgid(0, 0);  // Ctrl-C reaches the launcher alone, which passes it on once
  if (rank == 0) {
    ::fcntl(listener.socket, F_SETFD, 0);
  } else {
    const int nowhere = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ::dup2(nowhere, STDIN_FILENO);
    ::dup2(nowhere, STDOUT_FILENO);
  }
  ::execve(program.c_str(), words.data(), environment.data());
  ::_exit(127);
}

bool failed(const Child& child) {
  return child.process < 0 && (!WIFEXITED(child.status) || WEXITSTATUS(child.status) != 0);
}

// Of all together.
int code_of(const std::vector<Child>& children,
            const std::function<void(const std::string&)>& say) {
  std::vector<int> codes;
  for (const Child& child : children) {
    if (!WIFSIGNALED(child.status)) {
      codes.push_back(WEXITSTATUS(child.status));
      continue;
    }
    const int signal = WTERMSIG(child.status);
    say(child.by_us ? fmt::format("rank {} did not end and was killed", child.rank)
                    : fmt::format("rank {} was killed by signal {} ({})", child.rank, signal,
                                  ::strsignal(signal)));
    codes.push_back(1);
  }
  const auto any = [&](int code) {
    return std::find(codes.begin(), codes.end(), code) != codes.end();
  };
  for (const int code : {2, 3, 1}) {
    if (any(code)) return code;
  }
  return *std::max_element(codes.begin(), codes.end());
}

}  // namespace

int visible_gpus() {
#if MEMENGINE_HAS_CUDA
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
#endif
  return 0;
}

int gpus_asked(const std::string& text) {
  const int here = visible_gpus();
  if (text == "all") {
    if (here == 0) fail_input("--gpus all: no GPU is here that this program can use");
    return here;
  }
  int count = 0;
  for (const char c : text) {
    count = is_digit(c) && count < 100000 ? 10 * count + (c - '0') : 1 << 20;
  }
  if (text.empty() || count < 1 || count >= 1 << 20) {
    fail_input("--gpus {}: give the number of GPUs of this host to train on, or all", text);
  }
  if (count > here) {
    fail_input("--gpus {}: this program sees {} {} here; give at most as many, or all", count, here,
               here == 1 ? "GPU" : "GPUs");
  }
  return count;
}

int launch_ranks(const Launch& launch) {
  const Listener listener = listen_at(0, 1, true);
  const std::string token = random_token();
  std::vector<Child> children;
  for (int rank = 0; rank < launch.ranks; ++rank) {
    children.push_back(
        start(rank, launch.ranks, launch.program, launch.arguments, listener, token));
  }
  ::close(listener.socket);
  bool passed_on = false;
  Clock::time_point until = Clock::time_point::max();
  for (;;) {
    const int signal = passed_on ? 0 : launch.stop_signal();
    for (const Child& child : children) {
      if (signal == 0 || passed_on || child.process < 0) continue;
      passed_on = true;
      ::kill(child.process, signal);
    }
    bool running = false;
    for (Child& child : children) {
      if (child.process < 0) continue;
      if (::waitpid(child.process, &child.status, WNOHANG) == child.process) {
        child.process = -1;
        const double seconds =
            failed(child) ? launch.seconds_after_failure : 60 * launch.minutes_after_end;
        until = std::min(until, Clock::now() + std::chrono::milliseconds(
                                                   static_cast<std::int64_t>(1000 * seconds)));
      } else {
        running = true;
      }
    }
    if (!running) return code_of(children, launch.say);
    if (Clock::now() > until) {
      for (Child& child : children) {
        if (child.process < 0) continue;
        child.by_us = true;
        ::kill(child.process, SIGKILL);
      }
    }
    std::this_thread::sleep_for(20ms);
  }
}

}  // namespace memengine
